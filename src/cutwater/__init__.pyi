from cutwater.client.asynchronous import AsyncClient as AsyncClient
from cutwater.client.blocking import Client as Client

__version__: str

"""y = 2x over raw bytes of float32 in mosec: a Rust server, one Python worker behind a Unix socket.

python mosec_twice.py --address 127.0.0.1 --port PORT
"""

import numpy as np
from mosec import Server, Worker


class Twice(Worker):
    """One process; nothing is batched."""

    def deserialize(self, data):
        return np.frombuffer(data, np.float32)

    def forward(self, data):
        return data + data

    def serialize(self, data):
        return data.tobytes()


if __name__ == "__main__":
    server = Server()
    server.append_worker(Twice, num=1)
    server.run()

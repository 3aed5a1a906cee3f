"""What comes with a picture over HTTP: a form, or the picture's bytes alone and what the query says."""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec
from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from cutwater.api.http.task_words import Wishes
from cutwater.errors import BadSetting, InputError, did_you_mean

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what is wrong with a form, its sender is told

FIELD = "image"
FORM = "multipart/form-data"
AROUND = 64 * 2**10
"""Bytes of a form beside its picture."""


async def take_apart(headers: Headers, content: bytes) -> tuple[bytes, dict[str, str]]:
    """The picture, and the fields beside it. Raises InputError.

    What is no form is taken for the picture whatever it is called: ``curl --data-binary`` calls everything
    ``application/x-www-form-urlencoded``.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        return await _form(headers, content)
    if not content:
        raise InputError(f"there is no picture: send its bytes as the body, or in the field {FIELD!r} of a form")
    return content, {}


async def _form(headers: Headers, content: bytes) -> tuple[bytes, dict[str, str]]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    parser = MultiPartParser(headers, stream(), max_files=1, max_fields=16, max_part_size=AROUND)
    parser.spool_max_size = len(content) + 1  # what is in memory already is not written to a disk
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError) as error:
        raise InputError(f"the form cannot be read: {getattr(error, 'message', error)}") from None
    try:
        said: dict[str, str] = {}
        image: bytes | None = None
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != FIELD:
                    raise InputError(f"the form's field {name[:40]!r} is a file; the picture's is {FIELD!r}")
                image = await value.read()
            elif name in said:
                raise InputError(f"the form's field {name[:40]!r} is there twice")
            else:
                said[name] = value
    finally:
        await form.close()
    if image is None:
        raise InputError(f"the form has no file {FIELD!r}: curl -F {FIELD}=@street.jpg")
    return image, said


def wishes_of(query: QueryParams, fields: Mapping[str, str], known: Sequence[str]) -> Wishes:
    """What a client wishes, in the query or as fields of the form, where the fields go before.

    Args:
        query: Of the address.
        fields: Of the form.
        known: The wishes that make sense here.

    Raises:
        BadSetting: One that is not known, is said twice, or has no sense.
    """
    said: dict[str, str] = {}
    for name, value in query.multi_items():
        if name in said:
            raise BadSetting(f"{name[:40]!r} is in the query twice")
        said[name] = value
    said.update(fields)
    if unknown := said.keys() - set(known):
        name = min(unknown)
        raise BadSetting(f"there is nothing called {name[:40]!r} to say{did_you_mean(name[:40], known)}")
    try:
        return msgspec.convert(said, Wishes, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise BadSetting(f"{where.rstrip('`') or 'the request'}: {what[:1].lower()}{what[1:]}") from None

"""Everything Cutwater raises on purpose, in one tree.

    CutwaterError
      InputError            the user's input is wrong: the message says what to change
        BadQuantity           "20 mbitt/s"
        BadModel              not an ONNX file, truncated, unknown op, missing external data
        BadShape              a dimension is missing, wrong, or makes no sense
        BadCut                no such cut, or not a down-set
        BadFile               a fleet, plan, profile or option file with a typo
        BadPicture            a picture that cannot be decoded
        BadTensor             an input of the wrong shape, type or content
        NoPlan                no placement satisfies the limits asked for
        BadSetting            a setting that does not exist, or a value it does not take
        BadInvitation         an invitation that cannot be read, is out of date, or is revoked
        NotFound              no model, deployment, node or request of this name
        TooLarge              a request of more bytes than are taken
        Unauthorised          the token that clients must show is missing, or is another one
        Unsupported           a part of a protocol that is not offered here
        MissingExtra          needs a package that is not installed
        Unprivileged          needs rights on this machine that the process does not have
      FabricError           the messaging system did not do what was asked
        FabricLost            not connected, or not in time
        NoReply               nobody answers this subject
        Conflict              somebody else has changed the key
        BadBlob               a blob that is missing, or does not have the hash it is stored under
        Forbidden             the role of this process may not do that
      WireError             the peer's bytes are wrong: the link is closed, nothing else is disturbed
        FrameError            truncated, corrupt, of another version, or over the size limit
        CodecError            a tensor does not decode to what its header declares
      RunError              the run went wrong
        WorkerLost            a worker process ended
        ProcessLost           a process of the cluster ended, or never began to serve
        StageFailed           a stage could not compute a request
        LinkLost              a peer is gone or silent
        DeadlineExceeded      no answer in time
        Refused               not accepted at the door, or sent home: too little time, queue full, or draining
        Quarantined           a request that took down or hung its workers every time it was tried

Each class says whether trying again can help (``retryable``), which HTTP status it is (``status``) and with which
code a command ends (``exit_code``). ``kind`` is its stable name on the wire and in JSON.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar


class CutwaterError(Exception):
    """Root of the tree; never raised itself."""

    retryable = False
    status = 500
    exit_code = 1
    retry_after = 0.0
    """Seconds after which trying again is likely to help; 0: not known."""

    @property
    def kind(self) -> str:
        """The stable name of this error: its class name."""
        return type(self).__name__


class InputError(CutwaterError):
    """The user's input is wrong; the message says what to change."""

    status = 400
    exit_code = 2


class BadQuantity(InputError):
    """A number with a unit that cannot be read."""


class BadModel(InputError):
    """A model file that cannot be read or is not a valid model."""


class BadShape(InputError):
    """A dimension that is missing, wrong, or makes no sense."""


class BadCut(InputError):
    """A cut that does not exist or is not a down-set of the graph."""


class BadFile(InputError):
    """A fleet, plan, profile or option file that does not fit its form."""


class BadPicture(InputError):
    """A picture that cannot be decoded."""


class BadTensor(InputError):
    """An input tensor of the wrong shape, type or content."""


class NoPlan(InputError):
    """No placement satisfies the limits asked for."""


class BadSetting(InputError):
    """A setting that does not exist, or a value it does not take."""


class BadInvitation(InputError):
    """An invitation that cannot be read, is out of date, or is revoked."""


class NotFound(InputError):
    """No model, deployment, node or request of this name."""

    status = 404


class TooLarge(InputError):
    """A request of more bytes than are taken."""

    status = 413


class Unauthorised(InputError):
    """The token that clients must show is missing, or is another one."""

    status = 401


class Unsupported(InputError):
    """A part of a protocol that is not offered here."""

    status = 501


class MissingExtra(InputError):
    """An optional package is needed and not installed."""

    status = 501


class Unprivileged(InputError):
    """It needs rights, or programs, that this process does not have on this machine."""

    status = 501


class FabricError(CutwaterError):
    """The messaging system did not do what was asked."""


class FabricLost(FabricError):
    """Not connected to the fabric, or it did not confirm in time."""

    retryable = True
    status = 503


class NoReply(FabricError):
    """Nobody answers this subject, or not in time."""

    retryable = True
    status = 503


class Conflict(FabricError):
    """The key was not in the state the change was meant for; read it again."""

    retryable = True
    status = 409


class BadBlob(FabricError):
    """A blob that is missing, or whose bytes do not have the hash it is stored under."""


class Forbidden(FabricError):
    """The role of this process may not do that."""

    status = 403


class WireError(CutwaterError):
    """Bytes from a peer that do not follow the protocol."""


class FrameError(WireError):
    """A frame that is truncated, corrupt, of another version, or over the size limit."""


class CodecError(WireError):
    """A tensor that does not decode to what its header declares."""


class RunError(CutwaterError):
    """Something went wrong while a model was running."""


class WorkerLost(RunError):
    """A worker process ended."""

    retryable = True
    status = 503


class ProcessLost(RunError):
    """A process of the cluster ended, or never began to serve; the message shows the end of its log."""


class StageFailed(RunError):
    """A stage could not compute a request."""


class LinkLost(RunError):
    """A peer is gone or silent."""

    retryable = True
    status = 503


class DeadlineExceeded(RunError):
    """No answer within the request's deadline."""

    status = 504


class Refused(RunError):
    """Not accepted at the door, or sent home before it was begun: it would be answered too late, the queue is full, or
    the gateway drains."""

    retryable = True
    status = 503


class Quarantined(RunError):
    """A request that took down or hung its workers every time it was tried; it is not tried again."""

    status = 422


E = TypeVar("E", bound=BaseException)


def forgetful(error: E) -> E:
    """The error as a value, without the frames it came through: their variables are often requests of megabytes.

    Where one of them is the error itself, all would stay until the garbage collector comes by, which is rarely.
    """
    error.__context__ = None
    return error.with_traceback(None)


_LONGEST = 100
"""Characters of a wrong word that are compared: it may be as long as somebody likes, and comparing takes its time."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """``"; did you mean 'memory'?"``, or the list of what is known where nothing is close."""
    known = list(known)
    close = get_close_matches(wrong[:_LONGEST], known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known) or 'none'}"

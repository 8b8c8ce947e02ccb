"""What can go wrong, by who must act. A message says what was wrong, where, and what to do."""


class EdgeseqError(Exception):
    """Base of all errors that are the user's to read: printed as one paragraph, without a traceback.

    said: it was told already, in the form of a command's logs.
    """

    said = False


class ConfigError(EdgeseqError):
    """A configuration file or a command's arguments: the person who wrote them must act.

    keys: where inside its own table a plug-in found the mistake; whoever knows the file adds the line.
    """

    def __init__(self, message: str, *keys: str | int) -> None:
        super().__init__(message)
        self.keys = keys


class SourceError(EdgeseqError):
    """The data that comes in, or the device it comes from."""


class BundleError(EdgeseqError):
    """A bundle that is damaged, incomplete or of another schema."""


class ModelError(EdgeseqError):
    """A model that cannot be loaded, or does not compute what it should on this device."""


class SpentError(ModelError):
    """A stream that has come to the last frame that its model is made for, and whose states nothing may reset."""


class StateError(EdgeseqError):
    """A state, or a checkpoint of states, that is damaged or was taken of something else than what takes it up."""


class SinkError(EdgeseqError):
    """Where alerts go: a broker, a file, a database."""


class ServiceError(EdgeseqError):
    """systemd, or a program of the system that an installation asks, refuses."""

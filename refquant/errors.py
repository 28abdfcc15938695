"""The few meanings an error of refquant can have. Every message is one line that names the rule and the place."""


class RefquantError(Exception):
    """Base of every error that refquant raises on purpose. The message is one line of printable characters."""

    def __init__(self, message: str = "") -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class MalformedModel(RefquantError):
    """The bytes are not a well-formed `.tflite` flatbuffer."""


class InvalidModel(RefquantError):
    """The flatbuffer is well formed, but the model breaks a rule of TFLite."""


class UnsupportedModel(RefquantError):
    """The model is valid, but refquant does not build this operator, type or option."""


class InvalidInput(RefquantError, ValueError):
    """An array, name or option handed in by the caller does not fit the model."""


class NotQuantizable(RefquantError):
    """The quantizer cannot carry out what was asked for on this model."""


class AccumulatorOverflow(RefquantError):
    """An int32 accumulator left its range while overflows were asked for as errors."""


def internal_error(place: str, error: Exception) -> RefquantError:
    """A fault of refquant itself as one line. place: what it was doing, or the operator it was at."""
    return RefquantError(f"{place}: internal error ({type(error).__name__}: {error}); please report it with the model")

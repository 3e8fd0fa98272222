"""Sounds."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.part import Positive


class Audio(ModalityInput):
    """A sound: WAV bytes (PCM 8/16/24/32 bit or float 32), or a path to them.

    Args:
        column: Column of the manifest with the path. Defaults to the input's name.
        seconds: Length kept; longer clips are cut, shorter ones end in silence.
        sampling_rate: Hertz that clips are resampled to.
        window_ms: Length of one analysis window, milliseconds. 25 with a hop of 10 is the usual choice for speech.
        hop_ms: Step between windows, milliseconds.
        num_mel_bins: Number of mel bands between `min_hz` and `max_hz`.
        min_hz: Lowest frequency of the mel bank, hertz.
        max_hz: Highest frequency, hertz. Defaults to half the sampling rate.
        shift_ms: Largest random shift in time in training, milliseconds. Defaults to `0.0`.
        mask: Largest share of the frames, and of the mel bands, that training blanks (SpecAugment, arXiv:1904.08779,
            section 2; one mask each). Defaults to `0.0`.
        snr_db: Signal-to-noise ratio, decibels, of white noise that training adds. Defaults to `None`, no noise.
        encoder: Name or `Encoder`.
    """

    kind: Literal["audio"] = "audio"
    column: str | None = None
    seconds: Annotated[float, Field(gt=0.0, le=600.0)] = 2.0
    sampling_rate: Annotated[int, Field(ge=1000, le=96_000)] = 16_000
    window_ms: Annotated[float, Field(gt=0.0)] = 25.0
    hop_ms: Annotated[float, Field(gt=0.0)] = 10.0
    num_mel_bins: Positive = 64
    min_hz: Annotated[float, Field(ge=0.0)] = 20.0
    max_hz: float | None = None
    shift_ms: Annotated[float, Field(ge=0.0)] = 0.0
    mask: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    snr_db: Annotated[float, Field(ge=-40.0, le=120.0)] | None = None

    augmentation: ClassVar = ("shift_ms", "mask", "snr_db")

    @model_validator(mode="after")
    def _frequencies_fit(self):
        top = self.max_hz if self.max_hz is not None else self.sampling_rate / 2
        if not self.min_hz < top <= self.sampling_rate / 2:
            raise ValueError(
                "needs min_hz < max_hz <= sampling_rate / 2. "
                f"Received: min_hz={self.min_hz}, max_hz={top}, sampling_rate={self.sampling_rate}"
            )
        if self.hop_ms > 1000 * self.seconds:
            raise ValueError(f"`hop_ms` is longer than the clip. Received: hop_ms={self.hop_ms}")
        return self

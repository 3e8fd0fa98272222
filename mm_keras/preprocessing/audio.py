"""WAV bytes -> log-mel spectrogram; silence is exactly zero."""

import math
import warnings
from functools import cached_property
from itertools import islice

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.augmentation import sounds, stream
from mm_keras.preprocessing.chain import PLAIN, untuned
from mm_keras.preprocessing.image import read_file
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.preprocessing.wav import decode_wav, resample
from mm_keras.recipe import TensorInfo

with warnings.catch_warnings():
    # Its compiled plug-ins do not load on TF 2.21; the two functions used here are plain TensorFlow.
    warnings.filterwarnings("ignore", "unable to load libtensorflow_io_plugins", UserWarning)
    warnings.filterwarnings("ignore", "file system plugins are not loaded", UserWarning)
    from tensorflow_io import audio as tfio_audio

# Mel energy that counts as silence: about -80 dB below a full-scale sine in a 25 ms window.
FLOOR = 1e-2


# Clips that the mean and deviation of the mel bands are learned from; a few hundred fix them to a percent.
MOST_CLIPS = 512


class AudioPreprocessor(Preprocessor):
    """Reads, mixes to mono, resamples, cuts or pads, takes the log-mel spectrogram, and standardises each band.

    A frame of the model tensor is `(log(1 + mel / FLOOR) / 10 - mean) / deviation`, and exactly zero where it is
    silent. Without the standardising, silence would lie far outside of what sound looks like, and drown it.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Audio`.
        state: `{"mean": [...], "deviation": [...]}` of each band, over frames that are not silent, as `adapt` leaves
            it; without it the bands stay as they are.
    """

    reads_files = True
    row_wise = True
    most_bytes = 2**27

    def __init__(self, name, spec, state=None):
        super().__init__(name, spec, state)
        self.samples = round(spec.seconds * spec.sampling_rate)
        self.window = max(round(spec.window_ms * spec.sampling_rate / 1000), 1)
        self.hop = max(round(spec.hop_ms * spec.sampling_rate / 1000), 1)
        # A transform twice as long as needed for low rates, so that no mel band falls between two bins.
        self.fft = 2 ** math.ceil(math.log2(max(self.window, 512)))

    @property
    def tensor(self):
        return TensorInfo(shape=(-(-self.samples // self.hop), self.spec.num_mel_bins))

    @property
    def decoded_shape(self):
        return (self.samples,)

    def adapt(self, cells):
        """Learns each band's mean and deviation from some clips.

        Args:
            cells: An array of paths, empty ones left out, of which some are taken evenly; or a column that streams the
                files' bytes, of which the first are taken: its rows are in no order.
        """
        self.state = {}
        if hasattr(cells, "parts"):
            values = list(islice((c for c in cells if c), MOST_CLIPS))
            read = self._given
        else:
            values = np.array([p for p in cells if p], dtype=str)
            values, read = values[:: max(len(values) // MOST_CLIPS, 1)], self.read
        if not len(values):
            return
        clips = untuned(tf.data.Dataset.from_tensor_slices(values))
        clips = clips.map(PLAIN(lambda value: self.decode(read(value))), num_parallel_calls=tf.data.AUTOTUNE)
        clips = clips.ignore_errors(log_warning=True).batch(64).map(PLAIN(self.finish))
        none = np.zeros((0, self.spec.num_mel_bins))
        frames = np.concatenate([none, *(_frames(batch) for batch in clips.as_numpy_iterator())])
        if len(frames):
            # A band that hardly moves is not blown up.
            deviation = np.maximum(frames.std(axis=0), 0.02)
            self.state = {"mean": frames.mean(axis=0).tolist(), "deviation": deviation.tolist()}

    def read(self, cell):
        return {self.name: read_file(cell)}

    def _given(self, contents):
        return {self.name: contents}

    def decode(self, raw):
        """One row: bytes -> float32 `(samples,)` in [-1, 1]; empty bytes give silence."""
        contents = raw[self.name]
        return tf.cond(
            tf.equal(tf.strings.length(contents), 0),
            lambda: tf.zeros([self.samples]),
            lambda: self._waveform(contents),
        )

    def _waveform(self, contents):
        waveform, rate = decode_wav(contents)
        # Cut before resampling, with room for the filter, so that an hour costs no more than a clip.
        keep = tf.cast(tf.math.ceil((self.spec.seconds + 0.05) * tf.cast(rate, tf.float32)), tf.int32)
        waveform = resample(waveform[:keep], rate, self.spec.sampling_rate)[: self.samples]
        return tf.ensure_shape(tf.pad(waveform, [[0, self.samples - tf.size(waveform)]]), [self.samples])

    def finish(self, batch):
        """Batch: float32 `(batch, samples)` -> `(batch, frames, mels)`."""
        return self.log_mel(self.mel(self.spectrum(batch)))

    def spectrum(self, batch):
        """Float32 `(batch, samples)` -> magnitudes `(batch * frames, bins)`."""
        spectrum = tfio_audio.spectrogram(batch, nfft=self.fft, window=self.window, stride=self.hop)
        return tf.reshape(spectrum, [-1, self.fft // 2 + 1])

    def mel(self, spectrum):
        """Magnitudes `(rows, bins)` -> `(rows, mels)`."""
        return tf.matmul(spectrum, self.filters)

    @cached_property
    def filters(self):
        """Float32 `(bins, mels)`: the weight of each bin in each mel band.

        Worked out once, for a graph that does so itself rounds it another way where the number of rows is not known
        beforehand, and the logarithm makes that visible: a served answer would be up to 7e-5 from the trained model's.
        """
        with tf.init_scope(), tf.device("CPU"):
            bands = tfio_audio.melscale(
                tf.eye(self.fft // 2 + 1),
                rate=self.spec.sampling_rate,
                mels=self.spec.num_mel_bins,
                fmin=self.spec.min_hz,
                fmax=self.spec.max_hz or self.spec.sampling_rate / 2,
            )
        return bands.numpy()

    def log_mel(self, mel):
        """`(batch * frames, mels)` -> the model tensor `(batch, frames, mels)`."""
        log_mel = tf.reshape(tf.math.log1p(mel / FLOOR) / 10.0, [-1, *self.tensor.shape])
        if not self.state:
            return log_mel
        mean, deviation = (tf.constant(self.state[k], tf.float32) for k in ("mean", "deviation"))
        heard = tf.reduce_any(log_mel > 0.0, axis=2, keepdims=True)
        return tf.where(heard, (log_mel - mean) / deviation, 0.0)

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with bytes that cannot be decoded."""
        contents = raw[self.name]
        is_wave = tf.equal(tf.strings.substr(contents, 0, 4), b"RIFF")
        is_wave &= tf.equal(tf.strings.substr(tf.strings.join([contents, b"\0" * 12]), 8, 4), b"WAVE")
        coding = "cut, corrupt or of another coding than PCM of 8 to 32 bits or float of 32"
        return tf.where(is_wave, coding, "not a WAV file")

    def augment(self, batch, seed):
        """Batch of waveforms in training: noise is added, and each is shifted in time, as the recipe says."""
        if self.spec.snr_db is not None:
            batch = sounds.noise(batch, stream(seed, "noise"), self.spec.snr_db)
        if shift := round(self.spec.shift_ms * self.spec.sampling_rate / 1000):
            batch = sounds.shift(batch, stream(seed, "shift"), shift)
        return batch

    def augment_finished(self, log_mel, seed):
        """Batch in training: one block of frames and one block of mel bands of each row are blanked."""
        if self.spec.mask:
            for axis in (1, 2):
                log_mel = sounds.mask(log_mel, stream(seed, f"mask {axis}"), self.spec.mask, axis)
        return log_mel

    def draw(self, tensor):
        """Returns float `(mels, frames)`, the lowest band first, as `log(1 + mel / FLOOR) / 10`."""
        log_mel = np.asarray(tensor)
        if self.state:
            sound = log_mel * np.asarray(self.state["deviation"]) + np.asarray(self.state["mean"])
            log_mel = np.where((log_mel != 0).any(axis=1, keepdims=True), sound, 0.0)
        return log_mel.T


def _frames(batch):
    """Returns the frames `(n, mels)` of a batch that are not silent."""
    frames = batch.reshape(-1, batch.shape[-1])
    return frames[frames.any(axis=1)]

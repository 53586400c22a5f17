"""The captioner of tutorials in TensorFlow 2.12 / Keras, with the same widths and captions as `naive.py`.

Run by an interpreter that has tensorflow-cpu, and nothing of polymodal: `benchmarks.captioning` starts it where the
environment variable POLYMODAL_TF names one.
"""

import os
import sys

THREADS, LENGTH = int(sys.argv[1]), int(sys.argv[2])
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": str(THREADS)}

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from asked import serve  # noqa: E402
from tensorflow import keras  # noqa: E402

WORDS, PADDED, DIM, BATCH, SIDE, BEGIN = 20_000, 64, 512, 32, 299, 1
tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)


def made(image):
    """The model that is trained, on photos or (where `image` is None) on their features, and the one that writes."""
    photos = keras.Input((SIDE, SIDE, 3) if image else (64, 1536))
    seen = keras.layers.Reshape((64, 1536))(image(photos)) if image else photos
    seen = keras.layers.Dense(DIM, activation="relu")(seen)
    gru = keras.layers.GRU(DIM, return_sequences=True, return_state=True)
    embedding, attention = keras.layers.Embedding(WORDS, DIM), keras.layers.Attention()
    norm, dense = keras.layers.LayerNormalization(), keras.layers.Dense(WORDS)

    def decoded(ids, look, state):
        y, state = gru(embedding(ids), initial_state=state)
        return dense(norm(keras.layers.Add()([y, attention([y, look])]))), state

    ids = keras.Input((PADDED,), dtype="int64")
    training = keras.Model([photos, ids], decoded(ids, seen, None)[0])
    training.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    one, state, look = keras.Input((1,), dtype="int64"), keras.Input((DIM,)), keras.Input((64, DIM))
    return training, keras.Model([one, state, look], decoded(one, look, state))


def captions(g):
    """(BATCH, PADDED): as in `captioning`, 10.8 words on average between the two marks."""
    ids = np.zeros((BATCH, PADDED), np.int64)
    for row in ids:
        n = 2 + int(np.clip(np.round(g.gamma(8.0, 1.35)), 6, 25))
        row[:n] = g.integers(3, WORDS, n)
    return ids


def caption(writer, lookup, look):
    """LENGTH words, each drawn from the ten likeliest, looked up in a list that is asked for anew."""
    state, word, said = tf.zeros((1, DIM)), tf.constant([[BEGIN]], tf.int64), []
    for _ in range(LENGTH):
        logits, state = writer([word, state, look])
        best = tf.math.top_k(logits[0][0], 10)
        chosen = best.indices[int(tf.random.categorical([best.values], 1)[0, 0])]
        said.append(lookup.get_vocabulary()[int(chosen)])
        word = tf.reshape(tf.cast(chosen, tf.int64), (1, 1))
    return " ".join(said)


def main():
    """Answer what `captioning` asks."""
    g = np.random.default_rng(0)
    image = keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    image.trainable = False
    photos = tf.constant(g.random((BATCH, SIDE, SIDE, 3), np.float32))
    features = tf.constant(g.standard_normal((BATCH, 64, 1536)).astype(np.float32))
    ids = captions(g)
    given, following = tf.constant(ids), tf.constant(np.pad(ids[:, 1:], ((0, 0), (0, 1))))
    whole, _ = made(image)
    cached, writer = made(None)
    lookup = keras.layers.StringLookup(vocabulary=[f"word{i}" for i in range(WORDS - 1)])
    look = tf.constant(g.random((1, 64, DIM), np.float32))
    serve(
        {
            "photos": lambda: whole.train_on_batch([photos, given], following),
            "features": lambda: cached.train_on_batch([features, given], following),
            "caption": lambda: caption(writer, lookup, look),
            "image": lambda: image(photos[:1], training=False),
        }
    )


main()

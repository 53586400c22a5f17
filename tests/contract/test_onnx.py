"""ONNX files as frozen encoders, on tiny networks made here: fed by their shapes, refused with the way out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto as T
from onnx import helper
from PIL import Image

import flat
from polymodal.cli.options import pairs
from polymodal.errors import InputError, Unreadable
from polymodal.modalities import PRETRAINED, choose
from polymodal.modalities.pretrained.onnx import Onnx, split_name
from polymodal.modalities.vector.encoders import Projection
from polymodal.nn import SIZES
from polymodal.spec import build, spec, table

TINY = SIZES["tiny"]
Port = tuple[str, int, list[Any]]


def save(path: Path, nodes: list[Any], inputs: list[Port], outputs: list[Port], **weights: Any) -> str:
    """A network of a few nodes; weights are constants."""
    held = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    ports = [[helper.make_tensor_value_info(*p) for p in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *ports, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


def means(path: Path, shape: list[Any], axes: list[int], dtype: int = T.FLOAT) -> str:
    """out = mean over axes, (N, D); beside it an output "scores" of the wrong meaning, which comes last."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["my_embedding"], axes=axes, keepdims=0),
        helper.make_node("Neg", ["my_embedding"], ["scores"]),
    ]
    return save(path, nodes, [("x", dtype, shape)], [(n, dtype, ["n", "d"]) for n in ("my_embedding", "scores")])


def images(folder: Path, count: int, side: int = 9) -> list[Path]:
    g = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(count)]
    for p in paths:
        Image.fromarray(g.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(p)
    return paths


def rows(codec: Any, cells: list[Any]) -> torch.Tensor:
    got = codec.encode_batch(cells)
    assert all(isinstance(y, torch.Tensor) and y.dtype == torch.float16 for y in got)
    return torch.stack(got).float()


def test_an_image_network_sees_scaled_pixels_in_its_own_layout(tmp_path: Path) -> None:
    cells = images(tmp_path, 11)
    pixel = np.stack([np.asarray(Image.open(p)) for p in cells]).astype(np.float64)
    for layout, shape, axes in (("nchw", ["n", 3, 9, 9], [2, 3]), ("nhwc", ["n", 9, 9, 3], [1, 2])):
        name = means(tmp_path / f"{layout}.onnx", shape, axes)
        got = rows(choose("image", name)[0].fit([], TINY), cells)
        assert got.shape == (11, 1, 3)
        assert np.allclose(got[:, 0], pixel.mean((1, 2)) / 255, atol=1e-3)
        over = f"{name}:scale=255,mean=100/110/120,std=50,output=scores"
        got = rows(choose("image", over)[0].fit([], TINY), cells)
        assert np.allclose(got[:, 0], -(pixel.mean((1, 2)) - [100, 110, 120]) / 50, atol=2e-3)


def test_open_sides_are_224_unless_said(tmp_path: Path) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["s"], start=2), helper.make_node("Cast", ["s"], ["f"], to=T.FLOAT)]
    nodes.append(helper.make_node("Unsqueeze", ["f", "axis"], ["features"]))
    name = save(
        tmp_path / "sides.onnx", nodes, [("x", T.FLOAT, [1, 3, "h", "w"])], [("features", T.FLOAT, [1, 2])], axis=[0]
    )
    (cell,) = images(tmp_path, 1)
    assert choose("image", name)[0].fit([], TINY).encode(cell).tolist() == [[224, 224]]
    assert choose("image", f"{name}:size=32")[0].fit([], TINY).encode(cell).tolist() == [[32, 32]]


def test_a_waveform_is_resampled_and_cut_or_padded_to_a_fixed_length(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["wave"])]
    x = np.sin(np.arange(40) / 3).astype(np.float32) / 2
    for rate, length in ((8000, 30), (8000, 50)):
        name = save(tmp_path / f"{length}.onnx", nodes, [("x", T.FLOAT, [1, length])], [("wave", T.FLOAT, [1, length])])
        got = choose("audio", f"{name}:rate={rate}")[0].fit([], TINY).encode((x, 8000))
        assert np.allclose(got[0], np.pad(x, (0, 10))[:length], atol=1e-3)
    open_ = save(tmp_path / "count.onnx", count("x"), [("x", T.FLOAT, ["s"])], [("n", T.FLOAT, [1, 1])], axes=[0])
    assert choose("audio", open_)[0].fit([], TINY).encode((x, 8000)).tolist() == [[80]]  # 16 kHz unless said
    assert choose("audio", f"{open_}:rate=4000")[0].fit([], TINY).encode((x, 8000)).tolist() == [[20]]


def count(x: str) -> list[Any]:
    """(S,) -> (1, 1): how many samples."""
    return [
        helper.make_node("Shape", [x], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=T.FLOAT),
        helper.make_node("Unsqueeze", ["f", "axes"], ["n"]),
    ]


def test_clips_of_unequal_length_are_never_padded(tmp_path: Path) -> None:
    name = means(tmp_path / "m.onnx", ["n", "s"], [1])
    node = [helper.make_node("ReduceMean", ["x"], ["embedding"], axes=[1], keepdims=1)]
    name = save(tmp_path / "m.onnx", node, [("x", T.FLOAT, ["n", "s"])], [("embedding", T.FLOAT, ["n", 1])])
    codec = choose("audio", name)[0].fit([], TINY)
    clips = [(np.full(n, 0.25 + n / 1e4, dtype=np.float32), 16_000) for n in (100, 700, 100, 300, 700)]
    assert np.allclose(rows(codec, clips)[:, 0, 0], [0.25 + len(x) / 1e4 for x, _ in clips], atol=1e-3)


def test_frames_of_one_unbatched_clip_are_tokens(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["embeddings"])]
    name = save(tmp_path / "f.onnx", nodes, [("x", T.FLOAT, ["s"])], [("embeddings", T.FLOAT, ["t", 4])], shape=[-1, 4])
    x = np.linspace(0, 1, 32, dtype=np.float32)
    one = choose("audio", name)[0].fit([], TINY).encode((x, 16_000))
    assert np.allclose(one, x.reshape(8, 4).mean(0)[None], atol=1e-3)
    many = Onnx(name, "audio", tokens=4).fit([], TINY).encode((x, 16_000))
    assert np.allclose(many, x.reshape(4, 2, 4).mean(1), atol=1e-3)


def test_feature_maps_are_a_grid(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["hidden"])]
    name = save(tmp_path / "i.onnx", nodes, [("x", T.FLOAT, ["n", 3, 4, 4])], [("hidden", T.FLOAT, ["n", 3, 4, 4])])
    (cell,) = images(tmp_path, 1, side=4)
    x = np.asarray(Image.open(cell)) / 255
    got = Onnx(name, "image", tokens=4).fit([], TINY).encode(cell)
    assert np.allclose(got, x.reshape(2, 2, 2, 2, 3).mean((1, 3)).reshape(4, 3), atol=1e-3)


def text_network(folder: Path) -> str:
    """hidden[n, t] = E[ids] * mask, and the words a b c."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder.mkdir(exist_ok=True)
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    nodes = [
        helper.make_node("Gather", ["E", "input_ids"], ["e"]),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=T.FLOAT),
        helper.make_node("Unsqueeze", ["m", "axis"], ["m3"]),
        helper.make_node("Mul", ["e", "m3"], ["last_hidden_state"]),
    ]
    ports: list[Port] = [(n, T.INT64, ["n", "t"]) for n in ("input_ids", "attention_mask")]
    vectors = np.array([[0, 0], [1, 10], [2, 20], [3, 30]], dtype=np.float32)
    out: list[Port] = [("last_hidden_state", T.FLOAT, ["n", "t", 2])]
    return save(folder / "text.onnx", nodes, ports, out, E=vectors, axis=[2])


def test_a_text_network_reads_ids_of_the_tokenizer_beside_it(tmp_path: Path) -> None:
    codec = choose("text", text_network(tmp_path))[0].fit([], TINY)
    got = codec.encode_batch(["a b", "c", None, "  ", "a c c"])
    assert got[2] is None and got[3] is None
    assert [got[i].tolist() for i in (0, 1)] == [[[1.5, 15]], [[3, 30]]]
    assert np.allclose(got[4], [[7 / 3, 70 / 3]], atol=1e-2)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"put the tokenizer\.json that the network was made with"):
        text_again = tmp_path / "other"
        text_again.mkdir()
        Path(text_network(tmp_path)).rename(text_again / "text.onnx")
        choose("text", str(text_again / "text.onnx"))[0].fit([], TINY)


def test_series_and_vectors(tmp_path: Path) -> None:
    series = [np.arange(12.0).reshape(6, 2), np.ones((4, 2))]
    name = means(tmp_path / "s.onnx", ["n", "t", 2], [1])
    assert np.allclose(rows(choose("series", name)[0].fit([], TINY), series)[:, 0], [[5, 6], [1, 1]])
    turned = means(tmp_path / "t.onnx", ["n", 2, "t"], [2])
    codec = choose("series", f"{turned}:layout=NCT")[0].fit([], TINY)
    assert np.allclose(rows(codec, series)[:, 0], [[5, 6], [1, 1]])
    with pytest.raises(Unreadable, match="3 numbers a reading; the network takes 2"):
        codec.encode(np.ones((5, 3)))
    node = [helper.make_node("Neg", ["x"], ["features"])]
    name = save(tmp_path / "v.onnx", node, [("x", T.DOUBLE, ["n", 3])], [("features", T.DOUBLE, ["n", 3])])
    assert np.allclose(rows(choose("vector", name)[0].fit([], TINY), [[1, 2, 3], "[4, 5, 6]"])[:, 0, 0], [-1, -4])


def test_a_bad_cell_is_unreadable_and_spares_its_neighbours(tmp_path: Path) -> None:
    cells: list[Any] = images(tmp_path, 3)
    (tmp_path / "bad.png").write_bytes(b"no")
    codec = choose("image", means(tmp_path / "m.onnx", ["n", 3, 9, 9], [2, 3]))[0].fit([], TINY)
    got = codec.encode_batch([cells[0], tmp_path / "bad.png", None, cells[1]])
    assert isinstance(got[1], Unreadable) and got[2] is None
    assert torch.equal(got[3], codec.encode(cells[1]))


def test_a_clip_that_the_network_fails_on_is_unreadable(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["embeddings"])]
    name = save(tmp_path / "f.onnx", nodes, [("x", T.FLOAT, ["s"])], [("embeddings", T.FLOAT, ["t", 4])], shape=[-1, 4])
    got = choose("audio", name)[0].fit([], TINY).encode_batch([(np.ones(n, np.float32), 16_000) for n in (8, 7, 12)])
    assert [isinstance(y, Unreadable) for y in got] == [False, True, False]
    assert "fails on shape (7,)" in str(got[1])


def test_a_failing_cell_spares_those_that_share_its_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["i"], to=T.INT64), helper.make_node("Gather", ["E", "i"], ["hidden"])]
    ports: tuple[Port, Port] = ("x", T.FLOAT, ["n", 1]), ("hidden", T.FLOAT, ["n", 1, 2])
    name = save(tmp_path / "g.onnx", nodes, [ports[0]], [ports[1]], E=np.arange(6, dtype=np.float32).reshape(3, 2))
    got = choose("vector", name)[0].fit([], TINY).encode_batch([[1.0], [7.0], [2.0]])
    assert got[0].tolist() == [[2, 3]] and isinstance(got[1], Unreadable) and got[2].tolist() == [[4, 5]]


def test_the_key_is_of_the_content_and_the_copy_stands_in(tmp_path: Path) -> None:
    name = text_network(tmp_path / "a")
    codec = choose("text", name)[0].fit([], TINY)
    codec.save_source(tmp_path / "copy")
    assert sorted(p.name for p in (tmp_path / "copy").iterdir()) == ["text.onnx", "tokenizer.json"]
    form = json.loads(json.dumps(spec(codec)))
    form["args"]["source"] = str(tmp_path / "copy")
    again = build(form, table(PRETRAINED))
    assert again.fingerprint() == codec.fingerprint()
    assert torch.equal(again.encode("a b"), codec.encode("a b"))
    assert Onnx(name, "text", tokens=2).fit([], TINY).fingerprint() != codec.fingerprint()
    changed = (tmp_path / "copy" / "tokenizer.json").read_text().replace('"c": 3', '"c": 2')
    (tmp_path / "copy" / "tokenizer.json").write_text(changed)
    assert again.fingerprint() != codec.fingerprint()


def test_tokens_go_to_a_projection(tmp_path: Path) -> None:
    codec, encoder = choose("image", means(tmp_path / "m.onnx", ["n", 3, 9, 9], [2, 3]))
    codec.fit([], TINY)
    assert encoder is Projection
    batch = codec.collate([codec.encode(images(tmp_path, 1)[0]), None])
    assert batch.values.shape == (2, 1, 3) and batch.mask.tolist() == [[True], [False]]
    assert encoder.for_codec(codec, TINY)(batch).values.shape == (2, 1, TINY.dim)


def test_errors_name_what_came_and_the_override(tmp_path: Path) -> None:
    name = means(tmp_path / "m.onnx", ["n", 5, 9, 9], [2, 3])
    said = r"m\.onnx can't be fed with image: x of shape \(n, 5, 9, 9\) is not NCHW or NHWC\. Its inputs: "
    with pytest.raises(InputError, match=said + r"x \(n, 5, 9, 9\) tensor\(float\).*m\.onnx:layout=NCHW or NHWC"):
        choose("image", name)[0].fit([], TINY)
    nodes = [helper.make_node("Add", ["x", "y"], ["z"])]
    two = save(tmp_path / "two.onnx", nodes, [(n, T.FLOAT, ["n", 3]) for n in "xy"], [("z", T.FLOAT, ["n", 3])])
    with pytest.raises(InputError, match=r"it has several inputs.*x \(n, 3\).*y \(n, 3\).*two\.onnx:input=NAME"):
        choose("vector", two)[0].fit([], TINY)
    with pytest.raises(InputError, match="nothing is known to feed y with"):
        choose("vector", f"{two}:input=x")[0].fit([], TINY)
    good = means(tmp_path / "v.onnx", ["n", "t", 2], [1])
    with pytest.raises(InputError, match=r"'out' is no output.*my_embedding \(n, 2\)"):
        choose("series", f"{good}:output=out")[0].fit([], TINY)
    with pytest.raises(InputError, match="no option 'raet' for audio in ONNX; did you mean 'rate'"):
        choose("audio", f"{good}:raet=8000")
    wave = [helper.make_node("Neg", ["x"], ["z"])]
    clip = save(tmp_path / "w.onnx", wave, [("x", T.FLOAT, ["n", "s"])], [("z", T.FLOAT, ["n", "s"])])
    with pytest.raises(InputError, match="option rate='fast'; expected a number"):
        choose("audio", f"{clip}:rate=fast")[0].fit([], TINY)
    with pytest.raises(InputError, match="there is no file"):
        choose("audio", str(tmp_path / "none.onnx"))[0].fit([], TINY)
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(InputError, match="can't be read as an ONNX file"):
        choose("audio", str(tmp_path / "bad.onnx"))[0].fit([], TINY)
    with pytest.raises(InputError, match="weights can't be trained; leave --finetune out"):
        choose("audio", good, finetune=True)
    with pytest.raises(InputError, match="an ONNX file reads text, image, audio, series, vector columns, not tabular"):
        choose("tabular", good)


def test_overrides_survive_the_command_line() -> None:
    assert pairs(["sound=a.onnx:rate=8000,mean=0.5"], "--encoder") == {"sound": "a.onnx:rate=8000,mean=0.5"}
    assert pairs(["a=b=n.onnx:rate=8000"], "--encoder") == {"a=b": "n.onnx:rate=8000"}
    assert pairs(["a=b=c"], "--encoder") == {"a=b": "c"}
    assert split_name("a.onnx:rate=8000,output=y=z") == ("a.onnx", {"rate": "8000", "output": "y=z"})
    for bad in ("a.onnx:rate", "a.onnx:=3", "a.onnx:rate="):
        with pytest.raises(InputError, match=r"FILE\.onnx:NAME=VALUE"):
            split_name(bad)


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from polymodal.modalities.pretrained import graph

    path = means(tmp_path / "m.onnx", ["n", "t", 2], [1])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert graph.load.__wrapped__(path, 0).get_session_options().intra_op_num_threads == 1


def test_a_model_folder_carries_the_network(tmp_path: Path) -> None:
    import polymodal
    from conftest import make_tones

    csv = make_tones(tmp_path / "t", 40)
    node = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("ReduceMean", ["a"], ["features"], axes=[1])]
    name = save(tmp_path / "net.onnx", node, [("x", T.FLOAT, ["n", "s"])], [("features", T.FLOAT, ["n", 1])])
    model = flat.fit(csv, "pitch", encoders={"sound": f"{name}:rate=8000"}, size="tiny", epochs=2)
    before = model.predict(csv)
    model.save(tmp_path / "model")
    Path(name).unlink()
    assert polymodal.load(tmp_path / "model").predict(csv).equals(before)

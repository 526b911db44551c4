"""Makes the seeds of the fuzz targets: the smallest valid files of each kind. Needs a C++ compiler,
and the results folder of some study for the cells:

    target/debug/runner run tests/fuzz/few.toml --out /tmp/few && python3 tests/fuzz/make.py /tmp/few
"""

import io
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).parent
SEEDS = HERE / "seeds"


def put(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def stamp():
    text = (
        "\\nabi = 1"
        '\\ntarget = \\"x86_64-unknown-linux-gnu\\"'
        '\\nlibtorch = \\"2.11.0\\"'
        '\\nname = \\"sample\\"'
        '\\nversion = \\"1\\"'
        '\\nentry = \\"gauntlet_plugin_sample\\"\\n'
    )
    code = f'__attribute__((section(".gauntlet"), used)) const char stamp[] = "{text}";\n'
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "s.c", Path(folder) / "s.so"
        for name, more in (
            ("one", ""),
            ("two", code.replace("stamp[]", "other[]").replace("sample", "another")),
        ):
            source.write_text(code + more)
            tight = ["-Wl,-z,noseparate-code,--build-id=none,-z,norelro", "-Wl,--hash-style=gnu"]
            subprocess.run(
                [
                    "cc",
                    "-shared",
                    "-nostdlib",
                    "-fno-asynchronous-unwind-tables",
                    *tight,
                    "-s",
                    source,
                    "-o",
                    library,
                ],
                check=True,
            )
            put("stamp", name, library.read_bytes())


def field(number, kind, data):
    key = bytes([number << 3 | kind])
    return key + (varint(len(data)) + data if kind == 2 else data)


def varint(value):
    out = b""
    while value >= 128:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def node(name, op, inputs=(), attributes=()):
    data = (
        field(1, 2, name.encode())
        + field(2, 2, op.encode())
        + b"".join(field(3, 2, i.encode()) for i in inputs)
    )
    for key, value in attributes:
        data += field(5, 2, field(1, 2, key.encode()) + field(2, 2, value))
    return field(1, 2, data)


def tensor(shape, content, dtype=1):
    sizes = b"".join(field(2, 2, field(1, 0, varint(size))) for size in shape)
    return field(8, 2, field(1, 0, varint(dtype)) + field(2, 2, sizes) + content)


def graphdef():
    values = struct.pack("<6f", *range(6))
    constants = {
        "packed": tensor([2, 3], field(4, 2, values)),
        "splat": tensor([2, 3], field(5, 2, struct.pack("<f", 0.5))),
        "listed": tensor([2], field(5, 2, struct.pack("<2f", 1, 2))),
        "half": tensor([2], field(13, 2, varint(0x3C00) + varint(0x4000)), dtype=19),
    }
    for name, value in constants.items():
        graph = node(
            "a", "Const", attributes=[("dtype", field(6, 0, b"\x01")), ("value", value)]
        ) + node("a/read", "Identity", ["a"])
        graph += node(
            "n",
            "LRN",
            ["a/read"],
            [("alpha", field(4, 5, struct.pack("<f", 1))), ("depth_radius", field(3, 0, b"\x05"))],
        )
        put("graphdef", name, graph + field(4, 2, field(1, 0, b"\x15")))


def safetensors():
    def file(header, data):
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    for dtype, size in (("F32", 4), ("F16", 2), ("BF16", 2), ("F64", 8)):
        put(
            "safetensors",
            dtype,
            file(
                {"a": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}},
                bytes(2 * size),
            ),
        )
    note = {
        "format": "pt",
        "gauntlet": '{"source":"x","source_sha256":"0","dialect":"pytorch","parameters":{}}',
    }
    put(
        "safetensors",
        "note",
        file(
            {"__metadata__": note, "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}},
            bytes(4),
        ),
    )


def formats():
    pickled = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rctorch\nHalfStorage\n"
    for name, files in (
        ("state", {"m/data.pkl": pickled, "m/version": b"3\n"}),
        ("module", {"m/data.pkl": pickled, "m/constants.pkl": b"", "m/version": b"9\n"}),
        ("arrays", {"a.npy": b"\x93NUMPY"}),
    ):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, content in files.items():
                archive.writestr(zipfile.ZipInfo(path), content)
        put("format", name, buffer.getvalue())
    put("format", "onnx", field(1, 0, b"\x08") + field(2, 2, b"x") + field(7, 2, b""))
    put("format", "saved", field(1, 0, b"\x01") + field(2, 2, b""))
    put("format", "index", '{"weight_map": {"a": "1.safetensors"}}')


def boundary():
    head = 'name = "a"\nsummary = "s"\nnorm = "l2"\nradius = 0.5\n'
    head += 'family = "f"\nside = 8\nclasses = 4\nsource = "s"\n'
    measure = 'unit = "1"\nscope = "outcome"\ndirection = "higher_is_more_robust"\n'
    measure += 'at_identity = 0.0\nextras = ["e"]\n'
    rest = "[parameters]\namount = 0.5\nsteps = 3\n"
    rest += '[[presets]]\nname = "p"\n[presets.parameters]\nsteps = 4\n'
    rest += '[[descriptions]]\nname = "steps"\ntext = "t"\nchoices = ["x"]\n'
    put("boundary", "plain", head + measure + rest + "\0amount = 1\nsteps = 2\n")
    put("boundary", "other", head + rest + "\0classes = 3\nside = 4\nseed = 7\n")
    put("boundary", "preset", "p\0amount = 0.25\n")


def study():
    put("study", "small", (HERE / "study.toml").read_text())
    put(
        "study",
        "set",
        "#set seed=7\n#set attack.*.amount=0.25\n" + (HERE / "study.toml").read_text(),
    )
    put(
        "study",
        "lists",
        'name = "l"\ninclude = ["model:*"]\nexclude = ["attack:n*"]\ncell_timeout = 1.5\n'
        '[data]\nfolder = "."\nfirst_label = 1\n',
    )


def images():
    for name in (
        "cmyk.jpg",
        "grey.jpg",
        "landscape_422_progressive.jpg",
        "palette.png",
        "grey.png",
    ):
        put("image", name, (HERE.parent / "fixtures/images" / name).read_bytes())
    for name in (
        "lossy_alpha.webp",
        "lossless.webp",
        "animated.webp",
        "palette4_rle.bmp",
        "palette8_os2.bmp",
        "rgb_alpha32.bmp",
        "rgb565.bmp",
        "rgb16_key.png",
        "grey_alpha16.png",
        "ycck.jpg",
    ):
        put("image", name, (HERE.parent / "fixtures/formats" / name).read_bytes())
    # A palette that ends within a colour, which can make a decoder panic.
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0),
        b"PLTE": bytes(7),
        b"IDAT": zlib.compress(bytes(20)),
        b"IEND": b"",
    }
    cut = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    ]
    put("image", "palette_cut.png", b"\x89PNG\r\n\x1a\n" + b"".join(cut))


def labels():
    put("labels", "csv", "\ufefffile;label;target\r\n\"a.png\";3;tench\r\n\r\n;;\r\n")
    put("labels", "utf16", "\ufeffid\tlabel\nb\t3\n".encode("utf-16-le"))
    put("labels", "words", "ILSVRC2012_val_00000001.JPEG 65\ndeep/b c.JPEG great white shark\n")
    put("labels", "boxes", "ImageId,PredictionString\na,n01440764 1 2 3 4 n01440764 5 6 7 8 \n")
    put("labels", "nips", "ImageId,x1,TrueLabel,TargetClass\na,0.5,306,779\n")
    put("labels", "classes", "n01443537 goldfish, Carassius auratus\nn01440764\ncat\n0\n")
    put("labels", "names", "3.n01440764.png\nILSVRC2012_val_00000293_n01440764.JPEG\n007\n")


def cells(results):
    letters = {"clean": b"c", "craft": b"k", "measure": b"m", "score": b"s", "transfer": b"t"}
    for kind, letter in letters.items():
        files = sorted((results / "cells" / kind).glob("*.parquet"))
        if files:
            put("cell", kind, letter + files[0].read_bytes())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    shutil.rmtree(SEEDS, ignore_errors=True)
    for make in (stamp, formats, graphdef, safetensors, boundary, study, images, labels):
        make()
    cells(Path(sys.argv[1]))
    print(sum(f.stat().st_size for f in SEEDS.rglob("*") if f.is_file()), "bytes")

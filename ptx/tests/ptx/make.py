"""Compiles every .cu here to the .ptx beside it, and shows ptxas the modules and the listed forms.

    pip install nvidia-cuda-nvrtc-cu12==12.4.127 nvidia-cuda-nvcc-cu12==12.9.86
    python make.py compile          writes the .ptx
    python make.py assemble [DIR]   ptxas on every .ptx here, or of another folder
    python make.py forms            ptxas on every line of ../forms: does it say what the mark says?
"""

import concurrent.futures
import ctypes
import pathlib
import subprocess
import sys
import tempfile

import nvidia

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = pathlib.Path(list(nvidia.__path__)[0])
PTXAS = PACKAGES / "cuda_nvcc" / "bin" / "ptxas"
FLAGS = ["--gpu-architecture=compute_80", "-fmad=false", "-lineinfo", "-std=c++17", "--device-int128"]


def compile_one(source):
    nvrtc = ctypes.CDLL(str(PACKAGES / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"))
    program = ctypes.c_void_p()
    # An absolute name: NVRTC puts the working folder before others.
    name = f"/ptx/{source.name}".encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), name, 0, None, None)
    flags = (ctypes.c_char_p * len(FLAGS))(*(flag.encode() for flag in FLAGS))
    failed = nvrtc.nvrtcCompileProgram(program, len(FLAGS), flags)

    def text(what):
        size = ctypes.c_size_t()
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    sys.stderr.write(text("ProgramLog"))
    if failed:
        sys.exit(f"{source.name} does not compile")
    source.with_suffix(".ptx").write_text(text("PTX"))


def assemble(path, target="sm_80"):
    command = [PTXAS, f"-arch={target}", path, "-o", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stderr


def form_holds(head, line):
    """Whether ptxas says of a form what its mark says."""
    mark, text = line[0], line[2:]
    verdict = {}
    for target in ["sm_80", "sm_90"] if mark == "^" else ["sm_80"]:
        with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
            file.write(head.replace("TARGET", target) + text + "\nL: ret;\n}\n")
            file.flush()
            verdict[target] = assemble(file.name, target)[0]
    return verdict == {"+": {"sm_80": True}, "~": {"sm_80": True}, "-": {"sm_80": False}}.get(
        mark, {"sm_80": False, "sm_90": True}
    )


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "compile"
    wrong = 0
    if what == "compile":
        for source in sorted(HERE.glob("*.cu")):
            compile_one(source)
    elif what == "assemble":
        folder = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else HERE
        for path in sorted(folder.glob("*.ptx")):
            accepted, log = assemble(path)
            if not accepted:
                wrong += 1
                print(path.name, log)
    else:
        head = (HERE.parent / "forms" / "head.ptx").read_text()
        lines = []
        for path in sorted((HERE.parent / "forms").glob("*.txt")):
            lines += [line for line in path.read_text().splitlines() if line and line[0] in "+-~^"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for line, holds in zip(lines, pool.map(lambda line: form_holds(head, line), lines)):
                if not holds:
                    wrong += 1
                    print("ptxas does not agree:", line)
        print(len(lines), "forms")
    sys.exit(1 if wrong else 0)


main()

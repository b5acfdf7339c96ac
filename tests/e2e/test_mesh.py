"""What the tests stand on."""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TAKE = "import mesh; print(mesh.free_port_block(20), flush=True); input()"


def test_meshes_that_start_together_get_ports_of_their_own():
    runs = [subprocess.Popen([sys.executable, "-c", TAKE], cwd=HERE, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(6)]
    bases = [run.stdout.readline() for run in runs]
    for run in runs:
        run.communicate("\n", timeout=20)
    assert all(bases) and len(set(bases)) == len(bases)

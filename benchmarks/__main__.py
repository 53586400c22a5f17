"""`python -m benchmarks [NAME ...] [--json]`: each figure is a ratio against a named baseline in the same run."""

import argparse
import json
import sys

from benchmarks import alignment, captioning, epochs, fusion, predicting, quantized, startup, steps

ALL = {
    "startup": startup.run,
    "steps": steps.run,
    "epochs": epochs.run,
    "predicting": predicting.run,
    "fusion": fusion.run,
    "captioning": captioning.run,
    "quantized": quantized.run,
    "alignment": alignment.run,
}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(ALL)} [default: all]")
parser.add_argument("--json", action="store_true")
chosen = parser.parse_args()
if unknown := set(chosen.names) - set(ALL):
    parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(ALL)}")
results = {}
for name in chosen.names or ALL:
    results[name] = ALL[name]()
    if not chosen.json:
        print(f"\n{name}: {sys.modules[f'benchmarks.{name}'].__doc__}")
        for line, value in results[name].items():
            print(f"  {line:<66} {value:>10,.3f}")
if chosen.json:
    print(json.dumps(results, indent=1))

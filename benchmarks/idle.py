"""What the extension costs a WebUI's request when nothing of it is enabled.

    python benchmarks/idle.py --with http://127.0.0.1:7860 --without http://127.0.0.1:7861

Two running WebUIs with the same checkpoint and flags (`--api`), one without this extension. The same small
request goes to both in turn. Without addresses nothing is measured.

    idle_ms        the median of the differences of neighbouring requests, milliseconds
    idle_ms_spread the distance between the quartiles of these differences
    ratio, ratio_spread   the same as ratios

Two processes of one program differ by a few per cent for as long as they run (where their memory begins):
restart both and repeat before you believe a small difference.
"""

from __future__ import annotations

import base64
import json
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable
from urllib.request import ProxyHandler, Request, build_opener

from _harness import Result, at_most, effort, finish, parser, seconds

LIMIT_MS = 5.0
BODY = {
    "prompt": "a red circle",
    "negative_prompt": "grey",
    "seed": 1,
    "cfg_scale": 4,
    "sampler_name": "Euler",
}


def picture_of(url: str, size: int, steps: int) -> Callable[[], bytes]:
    """Asks a WebUI for one picture."""
    body = json.dumps(BODY | {"width": size, "height": size, "steps": steps}).encode()
    request = Request(f"{url}/sdapi/v1/txt2img", body, {"Content-Type": "application/json"})
    opener = build_opener(ProxyHandler({}))

    def ask() -> bytes:
        with opener.open(request, timeout=600) as answer:
            return base64.b64decode(json.load(answer)["images"][0])

    return ask


def measured(options: Namespace) -> Result:
    """Ask both in turn, in pairs that swap their order. SystemExit where their pictures differ."""
    ours, plain = (picture_of(url, options.size, options.steps) for url in (options.url, options.without))
    if ours() != plain():
        raise SystemExit(
            "the two WebUIs make different pictures: take the same checkpoint, flags and settings"
        )
    pairs: list[tuple[float, float]] = []
    for number in range(options.pairs or effort(options, smoke=3, quick=20, full=200)):
        if number % 2:
            pairs.append((seconds(ours), seconds(plain)))
        else:
            second = seconds(plain)
            pairs.append((seconds(ours), second))
    differences = [1000 * (a - b) for a, b in pairs]
    ratios = [a / b for a, b in pairs]
    figures = {"seconds": statistics.median(b for _, b in pairs)}
    for name, values in (("idle_ms", differences), ("ratio", ratios)):
        low, middle, high = statistics.quantiles(values, n=4)
        figures |= {name: middle, f"{name}_spread": high - low}
    error = 0.93 * figures["idle_ms_spread"] / len(pairs) ** 0.5  # of the median, as of normal values
    return Result("idle", figures, {"idle_ms": at_most(LIMIT_MS)}, errors={"idle_ms": error})


def main() -> int:
    """Measure where there are two addresses."""
    found = parser("what the extension costs an idle request of a WebUI")
    found.add_argument("--with", dest="url", metavar="URL", help="a WebUI with this extension")
    found.add_argument("--without", metavar="URL", help="one without it")
    found.add_argument("--size", type=int, default=64, help="pixels a side (%(default)s)")
    found.add_argument("--steps", type=int, default=2, help="(%(default)s)")
    found.add_argument("--pairs", type=int, help="how many pairs of requests")
    options = found.parse_args()
    if not (options.url and options.without):
        print("idle: nothing measured, it wants --with URL and --without URL")
        return finish(Result("idle", {}, {}), options)
    return finish(measured(options), options)


if __name__ == "__main__":
    sys.exit(main())

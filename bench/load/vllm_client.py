"""vLLM's own load generator in its own process: `python -m bench.load.vllm_client PROMPTS …`, the rest as `vllm bench serve`.

Its command needs a package named `vllm`, which the CPU build is not; its code does not. The random prompts it sends are also
written to PROMPTS, a JSON list, so that another client can send the very same ones.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any


def main(prompts: str, arguments: list[str]) -> None:
    import numpy as np
    from vllm.benchmarks.datasets import get_samples
    from vllm.benchmarks.serve import add_cli_args
    from vllm.benchmarks.serve import main as serve
    from vllm.tokenizers import get_tokenizer
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser: Any = FlexibleArgumentParser()  # type: ignore[no-untyped-call]
    add_cli_args(parser)
    given = parser.parse_args(arguments)
    random.seed(given.seed)
    np.random.seed(given.seed)
    samples = get_samples(given, get_tokenizer(given.tokenizer))
    Path(prompts).write_text(json.dumps([sample.prompt for sample in samples]), encoding="utf-8")
    serve(given)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

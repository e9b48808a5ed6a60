"""Lets a CUDA build of torchvision load beside a CPU build of torch.

torchvision describes the shapes of ``nms`` and ``qnms`` while it is imported. Those two operators
live in a compiled part that loads with CUDA only, and without them the import fails, and with it
the Qwen2.5-Omni processor. Declaring them is enough: nobody here calls them.

``make_env.py`` copies this file into the environment, with a ``.pth`` file that imports it at
every interpreter start, so that subprocesses have it too. Hence no import here beyond ``sys``;
torch comes in only when torchvision does.
"""

import sys


class _DeclareBeforeImport:
    """Finds torchvision where everybody does, and declares its operators before it runs."""

    library = None

    @classmethod
    def find_spec(cls, name, path=None, target=None):  # pyright: ignore
        if name != "torchvision":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def declare_and_run(module):  # pyright: ignore
                cls.declare()
                run(module)

            spec.loader.exec_module = declare_and_run
        return spec

    @classmethod
    def declare(cls):
        import torch

        if cls.library is None and torch.version.cuda is None and torch.version.hip is None:
            # Kept on the class: the operators vanish with the object that declared them.
            cls.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                cls.library.define(
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


sys.meta_path.insert(0, _DeclareBeforeImport)

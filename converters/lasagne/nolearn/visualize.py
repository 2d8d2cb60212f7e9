"""``nolearn.lasagne.visualize``: its pictures are not drawn here."""

from collections.abc import Callable
from typing import Any

NAMES = ("draw_to_file", "draw_to_notebook", "get_pydot_graph", "occlusion_heatmap", "plot_conv_activity",
         "plot_conv_weights", "plot_loss", "plot_occlusion", "plot_saliency")  # fmt: skip


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in NAMES:
        raise AttributeError(f"nolearn.lasagne.visualize has no {name}")

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise NotImplementedError(f"visualize.{name} is not supported: plot net.train_history_ or "
                                  "net.get_all_params_values() with a library for plots")  # fmt: skip

    return refuse

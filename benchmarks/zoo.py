"""Networks by name: `tv:` of torchvision, `timm:` of timm, `hf:` of transformers, all with random weights.

Torchvision's and timm's own tables say how to build theirs and how large their images are. Of transformers
any family is built by `AutoConfig.for_model`, small: hidden size 64, two layers, four heads, a vocabulary of
1000.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.common import Example, Network, params, timm, torchvision, transformers

VOCABULARY = 1000
TOKENS = 16
FRAMES = 16
# The most parameters a configuration of transformers may give.
MOST = 100_000_000
# Networks that take images of any size are given smaller ones than their usual size if that is above this.
LARGEST = 384

# -- torchvision and timm --


def _torchvision(name: str) -> Network:
    models = torchvision()
    builder = models.get_model_builder(name)
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    preset = models.get_model_weights(name).DEFAULT.transforms()
    # Those without a crop take any size (segmentation); videos are of frames as well.
    size = getattr(preset, "crop_size", [64])[-1]
    frames = [FRAMES] if type(preset).__name__ == "VideoClassification" else []
    return Network(f"tv:{name}", lambda: builder(**options).eval(), _images(1, 3, *frames, size, size))


def _timm(name: str) -> Network:
    library = timm()
    config = library.get_pretrained_cfg(name)
    shape = config.input_size
    if shape[-1] > LARGEST and not config.fixed_input_size:
        shape = config.min_input_size or (shape[0], 256, 256)
    return Network(f"timm:{name}", lambda: library.create_model(name).eval(), _images(1, *shape))


def _images(batch: int, *shape: int) -> Callable[[int], Example]:
    """Makes random images: two more of them for another size."""
    generator = torch.Generator().manual_seed(1)
    return lambda other: ((torch.randn(batch + 2 * other, *shape, generator=generator),), {})


# -- transformers --

# What makes a configuration small, by the names transformers gives such fields; a family has some of them.
SMALL: Mapping[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "ffn_hidden_size"), 128),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 128),
    **dict.fromkeys(("head_dim", "d_kv", "attention_head_size"), 16),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    "moe_intermediate_size": 64,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "vocab_size": VOCABULARY,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": 64,
    "rotary_dim": 16,
}

_STAGES: Mapping[str, Any] = {
    "hidden_sizes": [16, 32, 48, 64],
    "depths": [1, 1, 1, 1],
    "image_size": 64,
}

# Families whose other settings have to fit, or which are built with more than the bare network.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "deberta_v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "detr": {
        "use_timm_backbone": True,
        "use_pretrained_backbone": False,
        "backbone": "resnet18",
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "num_queries": 10,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "segformer": {**_STAGES, "num_attention_heads": [1, 2, 3, 4], "decoder_hidden_size": 32},
    "swin": {
        "image_size": 64,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
    },
}

HEADS: Mapping[str, str] = {
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "segformer": "AutoModelForSemanticSegmentation",
    "t5": "AutoModelForSeq2SeqLM",
}


def _transformers(family: str) -> Network:
    library = transformers()
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    known = library.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
    kind = type(library.AutoConfig.for_model(family if family in known else family.replace("_", "-")))
    maker = getattr(library, HEADS.get(family, "AutoModel"))
    own = SETTINGS.get(family, {})
    errors = []
    for sizes in _candidates():
        try:
            config = _small(kind, {**sizes, **own}, own)
            _check_small(maker, config)
            example = _example(maker.from_config(config))
        except Exception as error:  # a size that does not fit this family: the next, larger one may
            errors.append(f"{type(error).__name__}: {error}")
            continue
        return Network(f"hf:{family}", _maker(maker, config), example)
    raise ValueError(f"no small configuration of {family} builds and runs: {'; '.join(errors)}")


def _maker(maker: Any, config: Any) -> Callable[[], nn.Module]:
    return lambda: maker.from_config(config).eval()


def _candidates() -> Iterator[Mapping[str, int]]:
    """Sizes to try, the smallest first."""
    yield SMALL
    shape = (
        "num_attention_heads",
        "num_key_value_heads",
        "num_heads",
        "head_dim",
        "image_size",
        "patch_size",
    )
    yield {name: value for name, value in SMALL.items() if name not in shape}
    layers = {name: value for name, value in SMALL.items() if "layer" in name or name == "vocab_size"}
    for size in (64, 128):
        yield {**layers, "image_size": size}
    yield layers


def _check_small(maker: Any, config: Any) -> None:
    with torch.device("meta"):
        count = params(maker.from_config(config))
    if count > MOST:
        raise ValueError(f"it has {count:,} parameters")


def _small(kind: Any, sizes: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """A configuration with those of the sizes it has, in the parts it is made of as well."""
    default = kind()
    alias = default.attribute_map
    chosen = {
        alias.get(name, name): value
        for name, value in sizes.items()
        if name in own or (isinstance(getattr(default, name, None), int) and not _follows(default, name))
    }
    for name, value in default.to_dict().items():
        if name.endswith("_token_id") and isinstance(value, int) and value >= VOCABULARY:
            chosen[name] = 0
    for name, part in default.sub_configs.items():
        inner = getattr(default, name, None)
        if inner is not None and type(inner) is part:
            chosen[name] = _small(part, sizes, {})
    return kind(**chosen)


def _follows(config: Any, name: str) -> bool:
    """Whether a field is worked out from others, or counts the stages that a list of depths gives."""
    return isinstance(getattr(type(config), name, None), property) or (
        "layer" in name and hasattr(config, "depths")
    )


def _example(model: Any) -> Callable[[int], Example]:
    """Makes examples for a model by what its forward takes; runs it once to see that they fit.

    Raises:
        ValueError: It takes something else than token numbers and pixels.
    """
    takes = inspect.signature(model.forward).parameters
    generator = torch.Generator().manual_seed(1)

    def tokens(batch: int) -> torch.Tensor:
        return torch.randint(3, VOCABULARY, (batch, TOKENS), generator=generator)

    def pixels(batch: int) -> torch.Tensor:
        config = getattr(model.config, "vision_config", model.config)
        size = getattr(config, "image_size", None) or 64
        height, width = (size, size) if isinstance(size, int) else size
        return torch.randn(batch, getattr(config, "num_channels", 3), height, width, generator=generator)

    makers = {"input_ids": tokens, "pixel_values": pixels, "decoder_input_ids": tokens}
    if not model.config.is_encoder_decoder:
        makers.pop("decoder_input_ids")
    wanted = {name: make for name, make in makers.items() if name in takes}
    if model.main_input_name not in wanted:
        raise ValueError(f"its main input, {model.main_input_name}, is neither token numbers nor pixels")

    def example(other: int) -> Example:
        return (), {name: make(2 + other) for name, make in wanted.items()}

    with torch.no_grad():
        model.eval()(**example(1)[1])
    return example


# -- all --

SOURCES: Mapping[str, Callable[[str], Network]] = {"tv": _torchvision, "timm": _timm, "hf": _transformers}


def network(name: str) -> Network:
    """The network of this name (`tv:resnet18`), ready to be built in eval mode.

    Raises:
        ValueError: There is no such source, or the network cannot be built.
    """
    source, _, own = name.partition(":")
    if source not in SOURCES:
        raise ValueError(f"{name}: name a network as tv:..., timm:... or hf:...")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SOURCES[source](own)


def seeded(of: Network, seed: int) -> nn.Module:
    """A network with weights that depend on the seed alone."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return of.build()

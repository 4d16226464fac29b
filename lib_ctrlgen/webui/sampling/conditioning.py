"""Scheduled prompt weights in the WebUI: each step gets the ordinary prompt with the weights of that step.

The WebUI parses and encodes each of these prompts itself, so emphasis, `BREAK`, prompt editing, textual
inversion and LoRA work as always. The text encoder runs once for each distinct token sequence, because
weights only multiply its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from modules import devices, prompt_parser, shared

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.prompts.blended import BlendedPrompt, MixedPrompt, PromptSource
from lib_ctrlgen.prompts.scheduled import parse_prompt
from lib_ctrlgen.request.blend import Blend
from lib_ctrlgen.request.blend_map import map_cells
from lib_ctrlgen.request.spec import ControlRequest

from .blending import ConceptCombiner, Crossfeed, combines_by_itself, mixed_conditioning, read_prompts
from .cell_batch import own
from .encoder_cache import EncoderCache, kept_infotext_hashes
from .guidance import Guidance
from .method_patch import MethodPatch
from .scheduled_loras import ScheduledLoras
from .step_callbacks import StepFunction, is_hires

# The positive and negative prompts that each of the WebUI's encoding methods reads.
FIRST = ("prompts", "negative_prompts")
HIRES = ("hr_prompts", "hr_negative_prompts")
TextWeights: TypeAlias = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class ConditioningRecipe:
    """The function and the arguments with which the WebUI made a conditioning, and its scheduled prompts."""

    function: Callable[..., Any]
    prompts: Any
    steps: int
    hires_steps: int | None
    sources: tuple[PromptSource, ...]
    encoded: EncoderCache
    made: Any


class ScheduledPrompts:
    """Gives each step of a generation the conditioning of its prompts with that step's weights."""

    def __init__(
        self,
        p: Any,
        requests: Sequence[ControlRequest],
        guidance: Guidance,
        crossfeed: Crossfeed | None = None,
        loras: ScheduledLoras | None = None,
    ) -> None:
        self.loras = loras
        self.crossfeed = crossfeed
        self.named = [request.prompt_weights for request in requests]
        self.blends = [request.blend for request in requests]
        self.blend = self.blends[0]
        self.cells = map_cells(self.blend) if self.blend else ()
        self.guidance = guidance
        self.recipes: dict[int, ConditioningRecipe] = {}
        self.reading: list[tuple[tuple[PromptSource, ...], tuple[PromptSource, ...]]] = []
        self.encoded = EncoderCache()
        self.made: dict[tuple[int, tuple[str, ...], TextWeights], Any] = {}
        self.caches: dict[tuple[int, TextWeights], EncoderCache] = {}
        self.weights: TextWeights = ()
        EncodingPatch(p, "setup_conds", FIRST, self).install()
        if hasattr(p, "calculate_hr_conds"):
            EncodingPatch(p, "calculate_hr_conds", HIRES, self).install()
        CachingPatch(p, self).install()

    @contextmanager
    def ordinary(self, p: Any, lists: tuple[str, str]) -> Iterator[None]:
        """Replace the scheduled prompts by the ordinary prompts of progress 0 while the WebUI reads them."""
        texts = {name: getattr(p, name) for name in lists}
        if any(value is None for value in texts.values()):
            yield
            return
        blends: Sequence[Blend | None] = self.blends
        if len(blends) == 1 and self.cells:
            blends = [self.cells[getattr(p, "iteration", 0) % len(self.cells)]]
        positive = read_prompts(blends, texts[lists[0]], hires=lists is HIRES)
        negative = tuple(parse_prompt(text, negative=True) for text in texts[lists[1]])
        self.encoded = EncoderCache()
        self.reading.append((positive, negative))
        try:
            for name, prompts in zip(lists, (positive, negative), strict=True):
                setattr(p, name, self.texts(prompts, 0.0))
            with self.encoded.installed(shared.sd_model):
                yield
        finally:
            self.reading.pop()
            for name, value in texts.items():
                setattr(p, name, value)

    def texts(self, sources: Sequence[PromptSource], progress: float) -> list[str]:
        """The ordinary prompt of each picture at `progress` (0..1)."""
        return [source.at(progress, own(self.named, picture)) for picture, source in enumerate(sources)]

    def note(
        self, function: Callable[..., Any], prompts: Any, steps: tuple[int, int | None], made: Any
    ) -> None:
        """Store how the WebUI made the conditioning `made`."""
        if self.reading:
            positive, negative = self.reading[-1]
            self.recipes[id(made)] = ConditioningRecipe(
                function=function,
                prompts=prompts,
                steps=steps[0],
                hires_steps=steps[1],
                sources=negative if getattr(prompts, "is_negative_prompt", False) else positive,
                encoded=self.encoded,
                made=made,
            )

    @contextmanager
    def batch(self) -> Iterator[StepFunction]:
        """Set the conditioning of every step of one batch."""
        try:
            yield self.follow
        finally:
            self.recipes.clear()
            self.made.clear()
            self.caches.clear()
            self.guidance.weights = self.guidance.combiner = None
            self.encoded = EncoderCache()

    def follow(self, params: Any) -> None:
        """Replace the WebUI's conditioning by that of this step's weights."""
        denoiser = params.denoiser
        given = denoiser.sampler.sampler_extra_args
        progress = denoiser.step / denoiser.total_steps
        self.weights = self.text_weights(progress, hires=is_hires(denoiser))
        cond = self.at(given["cond"], progress)
        self.guidance.weights = None
        if cond is not given["cond"]:
            self.guidance.weights, params.text_cond = rows_of(cond, denoiser.step)
        self.blend_concepts(params, given["cond"], progress)
        uncond = self.at(given["uncond"], progress)
        if uncond is not given["uncond"]:
            params.text_uncond = prompt_parser.reconstruct_cond_batch(uncond, denoiser.step)

    def text_weights(self, progress: float, *, hires: bool) -> TextWeights:
        """The weights of LoRAs in the text encoders that differ from those that the WebUI encoded with."""
        if self.loras is None:
            return ()
        first = self.loras.text_weights(0.0, hires=hires)
        now = self.loras.text_weights(progress, hires=hires)
        return () if now == first else tuple(now.items())

    def at(self, conditioning: Any, progress: float) -> Any:
        """Return the conditioning with the weights of `progress`. Raises HostError for an unknown one."""
        recipe = self.recipes.get(id(conditioning))
        if recipe is None:
            raise HostError(
                "another extension replaced the prompts' conditioning: switch it off, or write the prompt "
                "without schedules"
            )
        return self.made_of(conditioning, recipe, self.texts(recipe.sources, progress))

    def owners(self, params: Any) -> list[tuple[int, ...]] | None:
        """Return the concept of each cond row of each picture, or None if concepts have no rows."""
        recipe = self.recipes.get(id(params.denoiser.sampler.sampler_extra_args["cond"]))
        sources = recipe.sources if recipe else ()
        if not all(isinstance(s, BlendedPrompt) and not isinstance(s, MixedPrompt) for s in sources):
            return None
        return [source.owners for source in sources if isinstance(source, BlendedPrompt)] or None

    def blend_concepts(self, params: Any, conditioning: Any, progress: float) -> None:
        """Mix the concepts' features, or set how their predictions are combined."""
        sources = self.recipes[id(conditioning)].sources
        mixed = [source for source in sources if isinstance(source, MixedPrompt)]
        if self.crossfeed is not None:
            mixed = self.crossfeed.mixes(mixed)
        if mixed:
            params.text_cond = self.mixed(conditioning, mixed, progress, params.denoiser.step)
        elif self.blend is not None and combines_by_itself(self.blend):
            blended = [source for source in sources if isinstance(source, BlendedPrompt)]
            self.guidance.combiner = ConceptCombiner(self.blend, blended, self.named, progress)

    def mixed(self, conditioning: Any, sources: Sequence[MixedPrompt], progress: float, step: int) -> Any:
        """Return the concepts' features, mixed by the weights of each picture."""
        recipe = self.recipes[id(conditioning)]
        per_picture = [
            source.texts_at(progress, own(self.named, picture)) for picture, source in enumerate(sources)
        ]
        texts = [*zip(*per_picture, strict=True), ("",) * len(sources)]
        *features, empty = [rows_of(self.made_of(conditioning, recipe, each), step)[1] for each in texts]
        spherical = self.blend is not None and self.blend.interpolation == "slerp"
        return mixed_conditioning(sources, features, empty, progress, spherical=spherical)

    def made_of(self, conditioning: Any, recipe: ConditioningRecipe, prompts: Sequence[str]) -> Any:
        """Return the conditioning of `prompts`, made or cached; `conditioning` itself if they are its own."""
        texts = tuple(prompts)
        if texts == tuple(recipe.prompts) and not self.weights:
            return conditioning
        key = (id(conditioning), texts, self.weights)
        if key not in self.made:
            self.made[key] = self.make(recipe, texts)
        return self.made[key]

    def make(self, recipe: ConditioningRecipe, texts: Sequence[str]) -> Any:
        """Let the WebUI encode these prompts."""
        prompts = prompt_parser.SdConditioning(texts, copy_from=recipe.prompts)
        with ExitStack() as stack:
            stack.enter_context(kept_infotext_hashes())
            cache = recipe.encoded
            if self.loras is not None and self.weights:
                stack.enter_context(self.loras.encoding(dict(self.weights)))
                cache = self.caches.setdefault((id(recipe), self.weights), EncoderCache())
            stack.enter_context(cache.installed(shared.sd_model))
            stack.enter_context(devices.autocast())
            old = shared.opts.use_old_scheduling
            return recipe.function(shared.sd_model, prompts, recipe.steps, recipe.hires_steps, old)


def rows_of(conditioning: Any, step: int) -> tuple[Any, Any]:
    """Return the (row, weight) pairs of each picture, and the features of all rows, at a step."""
    batch: tuple[Any, Any] = prompt_parser.reconstruct_multicond_batch(conditioning, step)
    return batch


class EncodingPatch(MethodPatch):
    """Replaces a method of `p` that encodes prompts."""

    def __init__(self, p: Any, name: str, lists: tuple[str, str], prompts: ScheduledPrompts) -> None:
        super().__init__(p, name)
        self.lists = lists
        self.prompts = prompts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Encode the ordinary prompts of progress 0."""
        with self.prompts.ordinary(self.p, self.lists):
            return self.original(*args, **kwargs)


class CachingPatch(MethodPatch):
    """Replaces `p.get_conds_with_caching`, whose arguments say how each conditioning is made."""

    def __init__(self, p: Any, prompts: ScheduledPrompts) -> None:
        super().__init__(p, "get_conds_with_caching")
        self.prompts = prompts

    def __call__(self, function: Any, prompts: Any, steps: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the WebUI's conditioning, and store how it is made."""
        made = self.original(function, prompts, steps, *args, **kwargs)
        hires_steps = kwargs.get("hires_steps", args[2] if len(args) > 2 else None)
        self.prompts.note(function, prompts, (steps, hires_steps), made)
        return made

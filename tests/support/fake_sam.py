"""The part segment_anything of the small package, whose masks are areas of the brightness at a point."""

from tests.support.fake_detectors import FILES

FOLDER = "segment_anything/modeling"
ABOVE = "raise RuntimeError('an __init__ above the file was run')\n"
SAM_FILES = FILES | {
    "segment_anything/__init__.py": ABOVE,
    f"{FOLDER}/__init__.py": ABOVE,
    f"{FOLDER}/tiny_vit_sam.py": """
import torch
from torch import nn

class TinyViT(nn.Module):
    def __init__(self, img_size, embed_dims, depths, num_heads, window_sizes, drop_path_rate, layer_lr_decay):
        super().__init__()
        assert depths == [2, 2, 6, 2] and embed_dims[-1] == 320
        self.img_size = img_size
        self.patch_embed = nn.Conv2d(3, 1, 16, stride=16)
        self.register_buffer("attention_bias_idxs", torch.arange(3), persistent=False)

    def forward(self, x):
        assert self.attention_bias_idxs.tolist() == [0, 1, 2] and x.shape[2:] == (1024, 1024)
        return self.patch_embed(x)
""",
    f"{FOLDER}/prompt_encoder.py": """
from torch import nn

class PromptEncoder(nn.Module):
    def __init__(self, embed_dim, image_embedding_size, input_image_size, mask_in_chans):
        super().__init__()
        self.size = input_image_size[0]

    def forward(self, points, boxes, masks):
        coords, labels = points
        assert boxes is None and masks is None and labels.eq(1).all()
        return coords / self.size, None

    def get_dense_pe(self):
        return None
""",
    # Three masks: the area of the point's brightness; one that is not stable; a whole one that is unlikely.
    f"{FOLDER}/mask_decoder.py": """
import torch
from torch import nn

class MaskDecoder(nn.Module):
    def __init__(self, transformer_dim, transformer, num_multimask_outputs, **iou_head):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image_embeddings, image_pe, sparse_prompt_embeddings, dense_prompt_embeddings,
                multimask_output):
        assert multimask_output
        field = image_embeddings[0, 0]
        places = (sparse_prompt_embeddings[:, 0] * len(field)).long()
        far = (field - field[places[:, 1], places[:, 0]][:, None, None]).abs() * self.scale
        far = far.repeat_interleave(4, 1).repeat_interleave(4, 2)
        masks = torch.stack([5 - far * 500, (0.2 - far) * 2, far + 9], 1)
        return masks, torch.tensor([0.95, 0.99, 0.5]).repeat(len(places), 1)
""",
    f"{FOLDER}/transformer.py": """
from torch import nn

class TwoWayTransformer(nn.Module):
    def __init__(self, depth, embedding_dim, num_heads, mlp_dim):
        super().__init__()
""",
    f"{FOLDER}/sam.py": """
import torch
from torch import nn
from torch.nn.functional import interpolate, pad

class Sam(nn.Module):
    def __init__(self, image_encoder, prompt_encoder, mask_decoder):
        super().__init__()
        self.image_encoder, self.prompt_encoder = image_encoder, prompt_encoder
        self.mask_decoder = mask_decoder
        self.register_buffer("pixel_mean", torch.full((3, 1, 1), 120.0), False)

    def preprocess(self, x):
        x = (x - self.pixel_mean) / 60
        return pad(x, (0, 1024 - x.shape[3], 0, 1024 - x.shape[2]))

    def postprocess_masks(self, masks, input_size, original_size):
        whole = interpolate(masks, (1024, 1024), mode="bilinear")[..., :input_size[0], :input_size[1]]
        return interpolate(whole, original_size, mode="bilinear")
""",
}

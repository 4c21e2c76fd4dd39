"""Transformers of molecules."""

from typing import Any

import torch

from frdiff.catalogue.draw import Draw
from frdiff.catalogue.registry import calls

ATOMS = 37  # places of atoms in a residue


@calls("RFD4ProteinaTransformer", size=256, batch=1, at="256 residues")
def proteina(c: Any, d: Draw) -> dict[str, Any]:
    """RFdiffusion 4's protein backbones with latents for their atoms, nothing else asked for."""
    length = d.height
    residues = d.mask(length)
    chosen = (
        "hbond_1_atom",
        "pistack_1_atom",
        "pication_1_atom",
        "saltbridge_1_atom",
        "hydrophobic_1_atom",
        "metal-coord_1_atom",
    )
    absent = residues.new_zeros(d.batch, length, ATOMS)
    return {
        "bb_ca": d.tokens(length, 3),
        "local_latents": d.tokens(length, c.latent_dim),
        "bb_ca_time": d.time(),
        "local_latents_time": d.time(),
        "padding_mask": residues.bool(),
        "token_type": residues,
        "atom37_mask": absent.bool(),
        "conditioning": {
            "is_in_context_conditioning": torch.zeros_like(residues, dtype=torch.bool),
            "supports_local_latent": residues.bool(),
            "token_bond_path_length": residues.new_zeros(d.batch, length, length),
            "molecule_iid": residues,
            "molecule_entity_id": residues,
            "condition_index-group_1_token": residues,
            **{f"condition_{name}": absent for name in chosen},
        },
    }

"""Tiny transformers of molecules."""

CONFIGS = {
    "RFD4ProteinaTransformer": {
        "nlayers": 4, "token_dim": 16, "nheads": 2, "dim_cond": 8, "pair_repr_dim": 8,
        "latent_dim": 4, "token_type_emb_dim": 4, "cath_emb_dim": 4, "t_emb_dim": 8,
        "seq_sep_dim": 4, "xt_pair_dist_dim": 4, "tri_mult_c": 8, "num_sequence_classes": 5,
    },
}  # fmt: skip

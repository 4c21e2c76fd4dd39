"""How the weights of scores in a table are found: fitted, followed, steered, learnt."""

"""The search: space, objective, samplers, storage, studies and running them."""

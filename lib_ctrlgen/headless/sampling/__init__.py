"""Running a sampler: prompts, noise, guidance and the samplers themselves."""

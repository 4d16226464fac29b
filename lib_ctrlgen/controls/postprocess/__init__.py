"""Controls that change the predicted latent or the finished picture."""

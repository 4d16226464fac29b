"""What a unit does after the U-Net: to the predicted latent, or to the finished picture."""

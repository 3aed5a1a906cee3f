"""What stands between the public interface and the models of a gateway."""

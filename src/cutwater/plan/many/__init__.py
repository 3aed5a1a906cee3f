"""Planning many models on few machines: who runs what with whom, judged by queues that are fast to predict."""

"""What a gateway lets others see of itself: metrics, spans and statistics, all folds over finished requests."""

"""One page out of the results: verdict first, then each diagnostic with its picture, its meaning and its error bars."""

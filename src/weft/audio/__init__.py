"""Audio: files, samples, spectra, linear prediction. Everything is float64 numpy, channels first."""

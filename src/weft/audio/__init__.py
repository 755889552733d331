"""Audio: files, samples, spectra, linear prediction. All is float64 numpy, channels first."""

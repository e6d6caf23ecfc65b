"""From a configuration to built objects. Of the engine, only this package reads configurations."""

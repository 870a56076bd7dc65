"""The page: layout, handlers and pictures around the library `asm_rh`."""

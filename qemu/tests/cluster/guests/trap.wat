;; Does what WebAssembly forbids.
(module
  (memory (export "memory") 1)
  (func (export "main") (unreachable)))

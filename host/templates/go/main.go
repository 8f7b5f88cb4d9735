// The component exports what the folder `bindings` says, which calls the packages of this module: one for each hook.
package main

import _ "filter/bindings/wit_exports"

func main() {}

// The component exports what `bindings` says; build.sh writes those.
package main

import _ "filter/bindings/wit_exports"

func main() {}

package main

func main() { println(p) }

var p = "x" // the linker sets it: -X main.p=…

package gen

//go:generate go run ./ktgen all -root ..

# A library that mentions a store path, which scripts/fixtures fills in.
	.section __TEXT,__cstring,cstring_literals
	.asciz "@STORE@/lib"
	.data
	.globl _p
_p:
	.long 1

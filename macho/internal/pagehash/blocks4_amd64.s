#include "textflag.h"

// SHA-256 of 4 streams with the SHA extensions. X1 to X8 have the states, two registers a lane: FEBA and HGDC. The last
// 16 words of each lane's schedule lie on the stack, 64 bytes a lane, the last 4 of them also in X9 to X12. X0 is an
// implicit operand of SHA256RNDS2, X13 and X14 are scratch, X15 is the mask that swaps the bytes of words.

// ROUNDS4 is four rounds of a lane with the words w and the constants at BX+k.
#define ROUNDS4(k, feba, hgdc, w) \
	VPADDD k(BX), w, X0; SHA256RNDS2 X0, feba, hgdc; \
	VPSHUFD $0x0e, X0, X0; SHA256RNDS2 X0, hgdc, feba

// FIRST loads group i of the four groups of 4 words in the block at p, and does their rounds.
#define FIRST(i, p, feba, hgdc, w, stack) \
	VMOVDQU (16*i)(p), w; VPSHUFB X15, w, w; VMOVDQU w, (stack+16*i)(SP); \
	ROUNDS4((16*i), feba, hgdc, w)

// NEXT replaces group i of the schedule by the one 16 words later, and does its rounds. The groups before the new one are
// i, j, k, and what w has.
#define NEXT(i, j, k, feba, hgdc, w, stack) \
	VMOVDQU (stack+16*i)(SP), X13; VMOVDQU (stack+16*j)(SP), X14; SHA256MSG1 X14, X13; \
	VPALIGNR $4, (stack+16*k)(SP), w, X14; VPADDD X14, X13, X13; SHA256MSG2 w, X13; \
	VMOVDQA X13, w; VMOVDQU w, (stack+16*i)(SP); \
	ROUNDS4((16*i), feba, hgdc, w)

#define FIRSTS(i) \
	FIRST(i, R8, X1, X2, X9, 0); \
	FIRST(i, R9, X3, X4, X10, 64); \
	FIRST(i, R10, X5, X6, X11, 128); \
	FIRST(i, R11, X7, X8, X12, 192)

#define NEXTS(i, j, k) \
	NEXT(i, j, k, X1, X2, X9, 0); \
	NEXT(i, j, k, X3, X4, X10, 64); \
	NEXT(i, j, k, X5, X6, X11, 128); \
	NEXT(i, j, k, X7, X8, X12, 192)

#define GET(i, r) VMOVDQU (16*i)(DI), r
#define ADD(i, r) VPADDD (16*i)(DI), r, r; VMOVDQU r, (16*i)(DI)

// func blocks4(state *[maxLanes * 8]uint32, ptrs *[maxLanes]*byte, n int)
TEXT ·blocks4(SB), NOSPLIT, $256-24
	MOVQ state+0(FP), DI
	MOVQ ptrs+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ 0(SI), R8
	MOVQ 8(SI), R9
	MOVQ 16(SI), R10
	MOVQ 24(SI), R11
	VMOVDQU swapWords<>(SB), X15
	GET(0, X1); GET(1, X2); GET(2, X3); GET(3, X4)
	GET(4, X5); GET(5, X6); GET(6, X7); GET(7, X8)

block:
	LEAQ ·constants(SB), BX
	FIRSTS(0)
	FIRSTS(1)
	FIRSTS(2)
	FIRSTS(3)
	ADDQ $64, R8
	ADDQ $64, R9
	ADDQ $64, R10
	ADDQ $64, R11
	MOVL $3, AX

rounds:
	ADDQ $64, BX
	NEXTS(0, 1, 2)
	NEXTS(1, 2, 3)
	NEXTS(2, 3, 0)
	NEXTS(3, 0, 1)
	DECL AX
	JNZ rounds
	ADD(0, X1); ADD(1, X2); ADD(2, X3); ADD(3, X4)
	ADD(4, X5); ADD(5, X6); ADD(6, X7); ADD(7, X8)
	DECQ CX
	JNZ block
	RET

// func hasSHA() bool
TEXT ·hasSHA(SB), NOSPLIT, $0-1
	MOVB $0, ret+0(FP)
	XORL AX, AX
	CPUID // AX: the highest leaf
	CMPL AX, $7
	JLT none
	MOVL $7, AX
	XORL CX, CX
	CPUID
	BTL $29, BX
	SETCS ret+0(FP)

none:
	RET

DATA swapWords<>+0(SB)/8, $0x0405060700010203
DATA swapWords<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL swapWords<>(SB), RODATA|NOPTR, $16

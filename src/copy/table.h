/* SPDX-License-Identifier: MIT */
/*
 * For assembly: code that may meet a lost page lies in a section of its own,
 * and the exception table says where each piece of it goes on then. An entry
 * is relative to itself, so that nothing has to be relocated:
 *
 *	+-----------------------+------------------------+----------------------+
 *	| first byte - here (4) | first byte behind (4)  | where it goes on (4) |
 *	+-----------------------+------------------------+----------------------+
 *
 * Who comes out at a fix-up finds all registers as they were at the fault,
 * but for r8: the address that was lost, 0 if the kernel did not say.
 */
#ifndef BEZOAR_COPY_TABLE_H
#define BEZOAR_COPY_TABLE_H

	.macro	entry from to fix
	.pushsection bz_copy_table, "a", @progbits
	.balign	4
	.long	\from - ., \to - ., \fix - .
	.popsection
	.endm

	.macro	function name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.balign	64
\name:
	.cfi_startproc
	.endm

	.macro	ends name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.section bz_copy_text, "ax", @progbits
	.section .note.GNU-stack, "", @progbits
	.section bz_copy_text
#endif

/* SPDX-License-Identifier: MIT */
/* The guest's kernel, as guest/meson.build has made it. */
	.section .rodata
	.balign	16
	.globl	kernel_image, kernel_image_end
kernel_image:
	.incbin	IMAGE
kernel_image_end:
	.section .note.GNU-stack, "", @progbits

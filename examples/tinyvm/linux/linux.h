/* SPDX-License-Identifier: MIT */
/*
 * A real guest: Debian's kernel and one program of ours. It gets memory, the interrupt
 * controllers and the timer that are in KVM, and a serial port; nothing else.
 */
#ifndef TINYVM_LINUX_H
#define TINYVM_LINUX_H

#include <stdint.h>

#include "../machine.h"

/* uart.c: a 16550 that can print, and asks for what it does by its interrupt. */
struct uart {
	uint8_t enabled;	/* IER: which interrupts */
	uint8_t line, modem, scratch;
	uint16_t divisor;
	int empty;		/* "there is room" was not heard of yet */
};

#define UART_PORT	0x3f8
#define UART_IRQ	4

uint8_t uart_read(struct uart *u, uint32_t reg);
/* -1, or the byte that goes out. */
int uart_write(struct uart *u, uint32_t reg, uint8_t value);
/* Does it hold its interrupt line? */
int uart_asks(const struct uart *u);

/* load.c: the kernel, what it is told, and the archive with the program. The
 * address it begins at; 0: it was said why not. */
uint64_t linux_load(unsigned char *memory, uint64_t len, const char *kernel,
		    const char *init);

#define LINUX_PARAMS	0x7000u
#define LINUX_TABLES	0x10000u
#define LINUX_GDT	0x8000u

/* main.c: all of it; tinyvm's exit status. */
int linux_main(const struct options *o);

#endif

/* SPDX-License-Identifier: MIT */
/* What a driver asks of a 16550 that has nobody at the other end. */
#include "linux.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

#define IER_ROOM	0x02u
#define IIR_NONE	0x01u
#define IIR_ROOM	0x02u
#define LCR_DIVISOR	0x80u
#define LSR_ROOM	0x60u		/* both of its places are empty */
#define MCR_LOOP	0x10u
#define MSR_THERE	0xb0u		/* DCD DSR CTS */

int uart_asks(const struct uart *u)
{
	return u->empty && (u->enabled & IER_ROOM);
}

/* In a loop its own outputs come back: a driver finds it by that. */
static uint8_t modem_status(const struct uart *u)
{
	uint8_t m = u->modem;

	if (!(m & MCR_LOOP))
		return MSR_THERE;
	return (uint8_t)((m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4);
}

uint8_t uart_read(struct uart *u, uint32_t reg)
{
	int divisor = u->line & LCR_DIVISOR;
	uint8_t was;

	switch (reg) {
	case DATA:
		return divisor ? (uint8_t)u->divisor : 0;
	case IER:
		return divisor ? (uint8_t)(u->divisor >> 8) : u->enabled;
	case IIR:
		was = uart_asks(u) ? IIR_ROOM : IIR_NONE;
		u->empty = 0;
		return was;
	case LCR:
		return u->line;
	case MCR:
		return u->modem;
	case LSR:
		return LSR_ROOM;
	case MSR:
		return modem_status(u);
	default:
		return u->scratch;
	}
}

int uart_write(struct uart *u, uint32_t reg, uint8_t value)
{
	int divisor = u->line & LCR_DIVISOR;

	switch (reg) {
	case DATA:
		if (divisor) {
			u->divisor = (uint16_t)((u->divisor & 0xff00) | value);
			return -1;
		}
		u->empty = 1;
		return u->modem & MCR_LOOP ? -1 : value;
	case IER:
		if (divisor) {
			u->divisor = (uint16_t)((u->divisor & 0xff) | value << 8);
			return -1;
		}
		if (value & ~u->enabled & IER_ROOM)
			u->empty = 1;
		u->enabled = value & 0x0f;
		return -1;
	case LCR:
		u->line = value;
		return -1;
	case MCR:
		u->modem = value & 0x1f;
		return -1;
	case SCR:
		u->scratch = value;
		return -1;
	default:
		return -1;
	}
}

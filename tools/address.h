/* SPDX-License-Identifier: MIT */
/* Where bezoard listens: a path, or "@" and an abstract name, as bez_start(3) has it. */
#ifndef BEZOAR_TOOLS_ADDRESS_H
#define BEZOAR_TOOLS_ADDRESS_H

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static inline int address_is_abstract(const char *name)
{
	return *name == '@';
}

/* Returns its length; 0: it is too long. */
static inline socklen_t address_of(const char *name, struct sockaddr_un *ret)
{
	size_t len = strlen(name);

	if (len >= sizeof(ret->sun_path))
		return 0;
	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	memcpy(ret->sun_path, name, len);
	if (!address_is_abstract(name))
		return sizeof(*ret);
	ret->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

#endif

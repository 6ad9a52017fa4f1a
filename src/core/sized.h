/* SPDX-License-Identifier: MIT */
/*
 * Structs that begin with their own size, in both directions.
 */
#ifndef BEZOAR_CORE_SIZED_H
#define BEZOAR_CORE_SIZED_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Copy the @user_size bytes at @user into @ret of @size: what is missing is
 * zero. -EINVAL: less than the size field; -E2BIG: a non-zero byte that we do
 * not know.
 */
static inline int bz_sized_in(void *ret, size_t size, const void *user,
			      uint32_t user_size)
{
	const unsigned char *bytes = user;
	size_t i;

	if (user_size < sizeof(uint32_t))
		return -EINVAL;
	for (i = size; i < user_size; i++)
		if (bytes[i])
			return -E2BIG;
	memset(ret, 0, size);
	memcpy(ret, user, user_size < size ? user_size : size);
	return 0;
}

/*
 * Copy @size bytes of @from to the caller's struct, whose first field says how
 * many it has room for; a larger one is filled up with zeros. The size field
 * stays. -EINVAL: less than the size field.
 */
static inline int bz_sized_out(void *user, const void *from, size_t size)
{
	uint32_t room;

	if (!user)
		return -EINVAL;
	memcpy(&room, user, sizeof(room));
	if (room < sizeof(room))
		return -EINVAL;
	if (room > size)
		memset((char *)user + size, 0, room - size);
	else
		size = room;
	memcpy((char *)user + sizeof(room), (const char *)from + sizeof(room),
	       size - sizeof(room));
	return 0;
}

#endif

/*-------------------------------------------------------------------------
 *
 * router_text.c
 *		Claims and filters of subscriptions, in shared memory.
 *
 * Texts are of any length up to a limit, and the same ones come many times:
 * a user subscribes often with one token, a filter is asked for by many.  So
 * each is kept once, in a chain of blocks, and found by its digest; it goes
 * when the last subscription that has it goes.
 *
 * The router's lock guards all of it; see router_shmem.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "router/router.h"
#include "router/router_internal.h"
#include "router/router_shmem.h"

#include "storage/shmem.h"

#define TEXT_BLOCK_SIZE 252 /* bytes of a text in one block */

/* Blocks for each subscription there may be, of claims and filter. */
#define TEXT_BLOCKS_EACH 4

typedef struct TextBlock
{
	int next; /* -1 ends a text, and the list of free blocks */
	char data[TEXT_BLOCK_SIZE];
} TextBlock;

typedef struct TextEntry
{
	RouterText text; /* hash key - MUST BE FIRST */
	int uses;
	uint32 length;
	int first;
} TextEntry;

typedef struct TextPool
{
	int first_free;
	int nfree;
} TextPool;

static TextPool *pool = NULL;
static TextBlock *blocks = NULL;
static HTAB *entries = NULL;

static int blocks_size(void);
static int entries_size(void);

Size
plinth_router_text_size(void)
{
	Size size = MAXALIGN(sizeof(TextPool));

	size = add_size(size, mul_size(blocks_size(), sizeof(TextBlock)));
	return add_size(size, hash_estimate_size(entries_size(), sizeof(TextEntry)));
}

/*
 * Create the pool, or attach to it.  The caller holds AddinShmemInitLock.
 */
void
plinth_router_text_startup(void)
{
	HASHCTL info = {0};
	bool found;

	pool = ShmemInitStruct("plinth router text pool", sizeof(TextPool), &found);
	if (!found)
	{
		pool->first_free = 0;
		pool->nfree = blocks_size();
	}
	blocks = ShmemInitStruct("plinth router texts",
							 mul_size(blocks_size(), sizeof(TextBlock)), &found);
	if (!found)
		for (int i = 0; i < blocks_size(); i++)
			blocks[i].next = i + 1 < blocks_size() ? i + 1 : -1;

	info.keysize = sizeof(RouterText);
	info.entrysize = sizeof(TextEntry);
	entries = ShmemInitHash("plinth router text entries", entries_size(),
							entries_size(), &info,
							HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

/*
 * The name of a text, by which it is found.  BLAKE2b: nobody makes two claims
 * that have the same one.  NULL is no text.
 */
void
plinth_router_text_name(const char *string, RouterText *text)
{
	memset(text, 0, sizeof(*text));
	if (string != NULL)
		(void) crypto_generichash(text->digest, sizeof(text->digest),
								  (const unsigned char *) string,
								  strlen(string), NULL, 0);
}

bool
plinth_router_text_is_none(const RouterText *text)
{
	static const RouterText none;

	return memcmp(text, &none, sizeof(none)) == 0;
}

/*
 * Keep a text, or note one more use of it; false when the pool is full.  The
 * caller holds the lock.
 */
bool
plinth_router_text_keep(const RouterText *text, const char *string)
{
	TextEntry *entry;
	uint32 length;
	int *link;
	bool found;

	if (plinth_router_text_is_none(text))
		return true;
	entry = hash_search(entries, text, HASH_FIND, NULL);
	if (entry != NULL)
	{
		entry->uses++;
		return true;
	}

	length = strlen(string);
	if ((length + TEXT_BLOCK_SIZE - 1) / TEXT_BLOCK_SIZE > (uint32) pool->nfree)
		return false;
	entry = hash_search(entries, text, HASH_ENTER_NULL, &found);
	if (entry == NULL)
		return false;
	entry->uses = 1;
	entry->length = length;
	link = &entry->first;
	for (uint32 done = 0; done < length; done += TEXT_BLOCK_SIZE)
	{
		TextBlock *block = &blocks[pool->first_free];

		*link = pool->first_free;
		pool->first_free = block->next;
		pool->nfree--;
		memcpy(block->data, string + done, Min(length - done, TEXT_BLOCK_SIZE));
		link = &block->next;
	}
	*link = -1;
	return true;
}

/*
 * One use less of a text.  The caller holds the lock.
 */
void
plinth_router_text_drop(const RouterText *text)
{
	TextEntry *entry;

	if (plinth_router_text_is_none(text))
		return;
	entry = hash_search(entries, text, HASH_FIND, NULL);
	if (entry == NULL || --entry->uses > 0)
		return;
	for (int i = entry->first; i >= 0;)
	{
		int next = blocks[i].next;

		sodium_memzero(blocks[i].data, TEXT_BLOCK_SIZE);
		blocks[i].next = pool->first_free;
		pool->first_free = i;
		pool->nfree++;
		i = next;
	}
	hash_search(entries, text, HASH_REMOVE, NULL);
}

/*
 * A copy of a text in the current memory context; NULL when there is none, or
 * not any more.
 */
char *
plinth_router_text_read(const RouterText *text)
{
	TextEntry *entry;
	char *string = NULL;
	uint32 length = 0;

	if (plinth_router_text_is_none(text))
		return NULL;

	/* its length never changes, but it may go while memory is taken */
	LWLockAcquire(plinth_router->lock, LW_SHARED);
	entry = hash_search(entries, text, HASH_FIND, NULL);
	if (entry != NULL)
		length = entry->length;
	LWLockRelease(plinth_router->lock);
	if (entry == NULL)
		return NULL;

	string = palloc(length + 1);
	LWLockAcquire(plinth_router->lock, LW_SHARED);
	entry = hash_search(entries, text, HASH_FIND, NULL);
	if (entry != NULL)
	{
		uint32 done = 0;

		for (int i = entry->first; i >= 0; i = blocks[i].next)
		{
			memcpy(string + done, blocks[i].data,
				   Min(length - done, TEXT_BLOCK_SIZE));
			done += TEXT_BLOCK_SIZE;
		}
	}
	LWLockRelease(plinth_router->lock);
	if (entry == NULL)
		return NULL;
	string[length] = '\0';
	return string;
}

static int
blocks_size(void)
{
	return plinth_router_max_subscriptions * TEXT_BLOCKS_EACH;
}

static int
entries_size(void)
{
	return plinth_router_max_subscriptions * 2;
}

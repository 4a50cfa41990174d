/*-------------------------------------------------------------------------
 *
 * audit_tree.c
 *		Merkle trees over the records of the log.  Pure.
 *
 * Source: RFC 9162 section 2.1.  A leaf is SHA-256 of 0x00 and the record, a
 * node SHA-256 of 0x01 and its two children; of n leaves the left subtree
 * has the largest power of two that is smaller than n.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_seal.h"

#include <sodium.h>

StaticAssertDecl(AUDIT_HASH_SIZE == crypto_hash_sha256_BYTES,
				 "the tree is made of SHA-256");

static void node_hash(const AuditHash *left, const AuditHash *right,
					  AuditHash *node);
static void root_of(const AuditHash *leaves, int64 count, AuditHash *root);
static int64 left_size(int64 count);

void
plinth_audit_hash(const void *bytes, size_t length, AuditHash *hash)
{
	crypto_hash_sha256(hash->bytes, bytes, length);
}

void
plinth_audit_leaf_hash(const void *record, size_t length, AuditHash *leaf)
{
	const uint8 prefix = 0;
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	crypto_hash_sha256_update(&state, &prefix, 1);
	crypto_hash_sha256_update(&state, record, length);
	crypto_hash_sha256_final(&state, leaf->bytes);
}

/*
 * Add a leaf on the right.  Two complete trees of one size become one.
 */
void
plinth_audit_tree_add(AuditTree *tree, const AuditHash *leaf)
{
	Assert(tree->count < INT64CONST(1) << (AUDIT_TREE_HEIGHT - 1));

	tree->roots[tree->depth++] = *leaf;
	tree->count++;
	for (int64 size = tree->count; (size & 1) == 0; size >>= 1)
	{
		node_hash(&tree->roots[tree->depth - 2], &tree->roots[tree->depth - 1],
				  &tree->roots[tree->depth - 2]);
		tree->depth--;
	}
}

/*
 * The root of what has been added; of nothing, the hash of the empty string.
 */
void
plinth_audit_tree_root(const AuditTree *tree, AuditHash *root)
{
	if (tree->count == 0)
	{
		plinth_audit_hash("", 0, root);
		return;
	}

	*root = tree->roots[tree->depth - 1];
	for (int i = tree->depth - 2; i >= 0; i--)
		node_hash(&tree->roots[i], root, root);
}

/*
 * The inclusion path of a leaf, from its sibling up; returns its length.
 * path has room for AUDIT_TREE_HEIGHT hashes.
 */
int
plinth_audit_tree_path(const AuditHash *leaves, int64 count, int64 index,
					   AuditHash *path)
{
	int64 left;
	int length;

	if (count <= 1)
		return 0;

	left = left_size(count);
	if (index < left)
	{
		length = plinth_audit_tree_path(leaves, left, index, path);
		root_of(leaves + left, count - left, &path[length]);
	}
	else
	{
		length = plinth_audit_tree_path(leaves + left, count - left,
										index - left, path);
		root_of(leaves, left, &path[length]);
	}

	return length + 1;
}

static void
node_hash(const AuditHash *left, const AuditHash *right, AuditHash *node)
{
	const uint8 prefix = 1;
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	crypto_hash_sha256_update(&state, &prefix, 1);
	crypto_hash_sha256_update(&state, left->bytes, AUDIT_HASH_SIZE);
	crypto_hash_sha256_update(&state, right->bytes, AUDIT_HASH_SIZE);
	crypto_hash_sha256_final(&state, node->bytes);
}

static void
root_of(const AuditHash *leaves, int64 count, AuditHash *root)
{
	AuditTree tree = {0};

	for (int64 i = 0; i < count; i++)
		plinth_audit_tree_add(&tree, &leaves[i]);
	plinth_audit_tree_root(&tree, root);
}

/*
 * The largest power of two that is smaller than count, which is over 1.
 */
static int64
left_size(int64 count)
{
	int64 size = 1;

	while (size < count - size)
		size *= 2;

	return size;
}

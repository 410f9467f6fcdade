/* A program that does nothing, for what is linked into it. */
int main(void)
{
	return 0;
}

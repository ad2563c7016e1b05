enum e { A = ((((((((1)))))))), B = A };
char *s = "enum { X };"; enum { Y = 'a' };